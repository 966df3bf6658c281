"""One colour a method, the same in every figure and on every page, and lines that are no method's.

The colours are those of Okabe and Ito ("Color Universal Design", 2008) without black and yellow,
and a grey: with normal vision and each of the three colour blindnesses any two of them differ.
"""

from __future__ import annotations

import dataclasses
import hashlib

PAPER, INK, GRID, GREY = "#fdfdfb", "#1c1c1a", "#e4e3df", "#555555"
"""Ground, text, grid lines, the grey of a series: on a page CSS variables, light or dark."""
GREY_ON_DARK = "#c4c4c4"
VERMILLION, BLUE, GREEN, PURPLE = "#d55e00", "#0072b2", "#009e73", "#cc79a7"
ORANGE, SKY = "#e69f00", "#56b4e9"
SERIES = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY, GREY)


@dataclasses.dataclass(frozen=True)
class Style:
    """How a series is drawn.

    Attributes:
      colour: of `SERIES`, or `INK`.
      marker: of a point, as Matplotlib names it.
      dash: of a line, likewise.
      hatch: of a bar, likewise.
    """

    colour: str
    marker: str = "o"
    dash: str | tuple = "-"
    hatch: str = ""


_OWN = {
    "csdm": Style(VERMILLION, "o"),
    "dm": Style(BLUE, "D"),
    "ncfm": Style(GREEN, "s"),
    "dm_weighted": Style(SKY, "h"),
    "mmd": Style(PURPLE, "^"),
    "csdm_single": Style(ORANGE, "v"),
    "random": Style(GREY, "P"),
}
_OTHERS = (("X", "--", "//"), ("<", "-.", ".."), (">", (0, (4, 1, 1, 1)), "xx"), ("p", ":", "++"))
"""Marker, dash and hatch of methods that have no colour of their own."""
_PLAIN = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))


def of_method(name: str) -> Style:
    """The style of a method, a function of its name alone.

    A method that this table does not know, such as a user's, shares the colour of another one at
    worst: its marker, dash and hatch are never those of a known one.
    """
    if name in _OWN:
        return _OWN[name]
    digest = hashlib.sha256(name.encode()).digest()
    return Style(SERIES[digest[0] % len(SERIES)], *_OTHERS[digest[1] % len(_OTHERS)])


def numbered(number: int) -> Style:
    """The style of one of several series that are no methods, each in a colour."""
    return Style(SERIES[number % len(SERIES)], "oDs^vP"[number % 6])


def plain(number: int) -> Style:
    """The style of one of several lines of one run: told apart by their dashes, not by colours."""
    return Style(INK, dash=_PLAIN[number % len(_PLAIN)])
