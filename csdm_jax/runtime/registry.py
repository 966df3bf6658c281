"""Registries: entries by name, with those of other packages, and an error that lists the names."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from importlib import metadata
from typing import TypeVar

Entry = TypeVar("Entry")
_INTERACTIVE = "interactive"


def lookup(registry: Mapping[str, Entry], name: str, kind: str) -> Entry:
    """The entry of that name.

    Args:
      registry: name to entry.
      name: the name asked for.
      kind: what the registry holds, for the message ("method", "network").

    Raises:
      ValueError: for an unknown name; lists the known ones and the nearest.
    """
    if name in registry:
        return registry[name]
    near = difflib.get_close_matches(str(name), registry, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {kind} {name!r}: choose one of {sorted(registry)}{hint}")


class Registry(MutableMapping[str, Entry]):
    """Entries of the package, of the program that uses it, and of other installed packages.

    The last are entry points of `group`: they are loaded when a name is asked for that is not
    there yet, or all names are.

    Args:
      kind: what an entry is, for messages.
      group: of entry points, "csdm_jax.methods" and the like.
      entries: those of the package.
      reserved: names that are no entries, and not to be taken.
    """

    def __init__(
        self, kind: str, group: str, entries: Mapping[str, Entry], reserved: Iterable[str] = ()
    ):
        self.kind, self.group, self._reserved = kind, group, frozenset(reserved)
        self._entries = dict(entries)
        self._origins: dict[str, str] = {}
        self._open = True  # whether other packages have not been asked yet

    def register(self, name: str, entry: Entry, *, origin: str) -> None:
        """Adds an entry.

        Args:
          name: by which a configuration asks for it.
          entry: what it gets.
          origin: file that registers it. A file that is run again may register its own again; so
            may whatever is typed into an interpreter or a notebook.

        Raises:
          ValueError: for a name that is taken.
        """
        origin = _INTERACTIVE if re.match(r"<|.*ipykernel", origin) else os.path.abspath(origin)
        taken = name in self._reserved or name in self
        if taken and self._origins.get(name) != origin:
            raise ValueError(
                f"there is a {self.kind} {name!r} already: register yours by another name"
            )
        self._entries[name] = entry
        self._origins[name] = origin

    def _all(self) -> dict[str, Entry]:
        """Every entry, those of other packages among them.

        Raises:
          ImportError: for an entry point that cannot be loaded, or whose name is taken.
        """
        if self._open:
            self._open = False  # a module that is loaded here may ask for names itself
            try:
                for point in metadata.entry_points(group=self.group):
                    self._load(point)
            except ImportError:
                self._open = True  # what comes after it has not been loaded: say so every time
                raise
        return self._entries

    def _load(self, point: metadata.EntryPoint) -> None:
        """Adds the entry of another package, unless its module has registered it already."""
        try:
            entry = point.load()
            module = sys.modules.get(point.value.partition(":")[0].strip())
            own = getattr(module, "__file__", None)
            if own is None or self._origins.get(point.name) != os.path.abspath(own):
                self.register(point.name, entry, origin=f"entry point {point.value}")
        except Exception as error:  # it is a program, and anything can be wrong with it
            raise ImportError(
                f"the {self.kind} {point.name!r} of another package ({point.value}) cannot be "
                f"loaded ({error}): mend or uninstall that package"
            ) from error

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._all()

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name] if name in self._entries else self._all()[name]

    def __setitem__(self, name: str, entry: Entry) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
