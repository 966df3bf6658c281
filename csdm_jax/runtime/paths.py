"""Paths that a user gives, on a command line, in a configuration or in an environment variable."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path


class PathError(argparse.ArgumentTypeError, ValueError):  # argparse shows the text of the former
    """A path cannot be what its user meant."""


def given(text: str | os.PathLike[str]) -> Path:
    """The path that a user means: `~` and `$NAME` stand for what a shell makes of them.

    A path that is relative stays so; spaces are kept; a slash at the end changes nothing.

    Raises:
      PathError: for an empty path, a variable that is not set, or a home directory that is not
        known.
    """
    text = os.fspath(text)
    if not text.strip() or not text.isprintable():
        raise PathError(f"{text!r} is no path: give the name of a file or folder")
    path = os.path.expanduser(os.path.expandvars(text))
    if unset := re.search(r"\$\{?([A-Za-z_]\w*)", path):
        raise PathError(f"path {text!r}: the variable {unset[1]} is not set: set it, or write out")
    if path.startswith("~"):
        raise PathError(
            f"path {text!r}: the home directory is not known: set HOME, or give a path without '~'"
        )
    return Path(path)


def home(remedy: str) -> Path:
    """The user's home directory.

    Args:
      remedy: what else can be given where there is none.

    Raises:
      PathError: when it is not known.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise PathError(f"the home directory is not known: set HOME, or give {remedy}") from None


def from_environment(name: str) -> Path | None:
    """The path in an environment variable; None when it is not set, or empty."""
    return given(text) if (text := os.environ.get(name)) else None


def cache(remedy: str) -> Path:
    """The user's folder of caches: XDG_CACHE_HOME, or `~/.cache`.

    Args:
      remedy: what else can be given where there is none.

    Raises:
      PathError: when it is not known.
    """
    return from_environment("XDG_CACHE_HOME") or home(remedy) / ".cache"
