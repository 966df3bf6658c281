"""Fields of a configuration: a default, and what is accepted in its place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple


class Rule:
    """What a field accepts, in words and as a predicate; `names` are the choices, if it has any.

    Args:
      words: what is accepted, as the end of "it must be ...".
      accepts: whether a value is.
      names: the choices; a registry is looked at when it is asked, so that later entries count.
    """

    def __init__(
        self, words: str, accepts: Callable[[Any], bool], names: Collection[str] = ()
    ) -> None:
        self._words = words
        self._names = names
        self.accepts = accepts

    @property
    def names(self) -> tuple[str, ...]:
        """The choices in order."""
        return tuple(sorted(self._names))

    @property
    def words(self) -> str:
        """What is accepted."""
        return self._words.replace("{names}", ", ".join(self.names))

    def hint(self, shown: str) -> str:
        """The nearest valid name to what was given, as the end of a sentence."""
        near = difflib.get_close_matches(shown.strip("'\""), self.names, n=1, cutoff=0.5)
        return f"; did you mean {near[0]!r}?" if near else ""


class Field(NamedTuple):
    """One field of a configuration.

    Attributes:
      default: its value where nothing else is said; it satisfies the rule.
      rule: what is accepted in its place.
    """

    default: Any
    rule: Rule


def integer(low: int, high: int) -> Rule:
    """An integer from `low` to `high`, both included."""
    return Rule(
        f"an integer from {low} to {high}",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high,
    )


def number(low: float, high: float, *, open_ends: bool = False) -> Rule:
    """A finite number in [low, high], or in (low, high)."""

    def accepts(v: Any) -> bool:
        if isinstance(v, bool) or not isinstance(v, int | float):
            return False
        return low < v < high if open_ends else low <= v <= high

    ends = "()" if open_ends else "[]"
    return Rule(f"a number in {ends[0]}{low:g}, {high:g}{ends[1]}", accepts)


def choice(names: Collection[str]) -> Rule:
    """One of the given names, or of the names of a registry."""
    return Rule("one of {names}", lambda v: isinstance(v, str) and v in names, names)


def several(rule: Rule, *, least: int = 0) -> Rule:
    """A tuple of different members, `least` or more, that all satisfy `rule`."""
    return Rule(
        f"a tuple of {least} or more, all different, each {rule._words}",
        lambda v: (
            isinstance(v, tuple) and all(map(rule.accepts, v)) and len(set(v)) == len(v) >= least
        ),
        rule._names,
    )


TEXT = Rule("a string of printable characters", lambda v: isinstance(v, str) and v.isprintable())
FLAG = Rule("True or False", lambda v: isinstance(v, bool))
SEED = integer(0, 2**31 - 1)
RATE = number(0.0, 100.0, open_ends=True)
UNIT = number(0.0, 1.0)
OPEN_UNIT = number(0.0, 1.0, open_ends=True)
MOMENTUM = number(0.0, 0.9999)
FRACTIONS = several(OPEN_UNIT)


def flatten(config: Any) -> dict[str, Any]:
    """`{"section.field": value}` of a ConfigDict, or of a dict that JSON made of one."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if hasattr(value, "items"):
            flat |= {f"{name}.{leaf}": inner for leaf, inner in flatten(value).items()}
        else:
            flat[name] = value
    return flat
