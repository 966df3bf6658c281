"""Look-up by name, with an error that lists the names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


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
