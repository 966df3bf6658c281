"""The order of classes, and how two lists of class names go together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from absl import logging

from csdm_jax.runtime.text import printable


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names, printable, each once, in label order: numbers as numbers, all else as text."""
    found = sorted({printable(name) for name in names})
    if not all(name.isascii() and name.isdecimal() for name in found):
        return tuple(found)
    ordered = sorted(found, key=lambda name: (int(name), name))
    if ordered != found:
        logging.info("class names are numbers and are sorted as such: %s, ...", ordered[:12])
    return tuple(ordered)


def numbers(count: int) -> tuple[str, ...]:
    """What stands in place of class names that nobody knew."""
    return tuple(str(label) for label in range(count))


def are_shuffled(one: Sequence[str] | None, other: Sequence[str] | None) -> bool:
    """Whether both are the same names, in two orders."""
    return bool(one and other) and one != other and sorted(one or ()) == sorted(other or ())
