"""Text from outside, made fit for a terminal, a file and a figure."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""The text in composed form, with an escape for each character that cannot be printed.

    A file name in Python may hold bytes that are no UTF-8: they become `\xe9` and the like, as
    control characters do. Everything else stays, in any script.

    >>> print(printable("caf\udce9"), printable("two\nlines"))
    caf\xe9 two\nlines
    """
    whole = unicodedata.normalize("NFC", text)
    return "".join(one if one.isprintable() else escaped(one) for one in whole)


def escaped(character: str) -> str:
    r"""A character by its number: `\xe9`, `\u732b`."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
