"""Old names: for one release they still work, with a warning.

Of modules that moved into a room, and of functions that got another name.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "characteristic": "metric.characteristic",
    "config": "experiment.config",
    "distances": "metric.distances",
    "distilled": "sets.distilled",
    "dot_kernels": "metric.dot_kernels",
    "extractors": "training.extractors",
    "formats": "sets.formats",
    "frequencies": "metric.frequencies",
    "kernels": "metric.kernels",
    "methods": "distillation.methods",
    "mmd": "metric.mmd",
    "schedules": "metric.schedules",
}
"""The modules that the documentation of 0.1 named: old name to new, both below `csdm_jax`."""

RENAMED = {"compare": "compare_methods"}
"""Old name to new, of what `csdm_jax` offers: `csdm_jax.compare` is the module of the command."""


def present(name: str) -> str:
    """The name that what `name` asks for has today; warns where it is another."""
    if name in RENAMED:
        warnings.warn(
            f"csdm_jax.{name}() is csdm_jax.{RENAMED[name]}() since 0.2; the old name goes with "
            "0.3",
            DeprecationWarning,
            stacklevel=3,
        )
    return RENAMED.get(name, name)


class _Finder:
    """Finds a moved module, or a submodule of one, under its old name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, old = fullname.partition(".")
        first, dot, rest = old.partition(".")
        if package != "csdm_jax" or first not in MOVED:
            return None
        return ModuleSpec(fullname, _Loader(f"csdm_jax.{MOVED[first]}{dot}{rest}"))


class _Loader(Loader):
    """Puts the module of another name in the place of one that is imported."""

    def __init__(self, name: str):
        self._name = name

    def create_module(self, spec: ModuleSpec) -> None:
        """A module as usual, until it is replaced."""

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warnings.warn(
            f"{old} is {self._name} since 0.2; the old name goes with 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[old] = importlib.import_module(self._name)


def install() -> None:
    """Makes the old names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # In front: behind the file finder, submodules would be loaded a second time.
        sys.meta_path.insert(0, _Finder())
