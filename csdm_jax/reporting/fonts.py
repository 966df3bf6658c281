"""Fonts that have the glyphs of a text, and text without the glyphs that no font has.

For pictures, in which a missing glyph is a box. On a page the browser looks for fonts itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

from csdm_jax.runtime.text import escaped

DEFAULT = "DejaVu Sans"
"""Comes with Matplotlib."""


def families(texts: Iterable[str]) -> list[str]:
    """Matplotlib's font family for texts: the default, and others for what it lacks."""
    found, missing = [DEFAULT], set("".join(texts)) - glyphs(DEFAULT)
    for name in _others() if missing else ():
        if missing & glyphs(name):
            found.append(name)
            missing -= glyphs(name)
        if not missing:
            break
    return found


def drawable(text: str, fonts: Sequence[str]) -> str:
    r"""The text with an escape, such as `\u732b`, for each character that no font of these has."""
    known = frozenset().union(*map(glyphs, fonts))
    return "".join(one if one in known else escaped(one) for one in text)


@functools.cache
def glyphs(family: str) -> frozenset[str]:
    """The characters that a font can draw."""
    from matplotlib import font_manager

    wanted = font_manager.FontProperties(family=[family])  # a name alone would be read as a pattern
    font = font_manager.get_font(font_manager.findfont(wanted))
    return frozenset(map(chr, font.get_charmap()))


def _others() -> Iterator[str]:
    """Other fonts of this machine: those made for many scripts first, then by name."""
    from matplotlib import font_manager

    upright = (font for font in font_manager.fontManager.ttflist
               if font.style == "normal" and font.weight == 400)  # fmt: skip
    # A font of last resort has a box for every character.
    names = {font.name for font in upright if not font.name.startswith("Last Resort")}
    wide = ("Noto Sans CJK", "Noto Sans", "Source Han", "Arial Unicode")
    yield from sorted(names - {DEFAULT}, key=lambda name: (not name.startswith(wide), name))
