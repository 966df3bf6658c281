"""Packages that come with an extra of this one: who lacks one is told its name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class MissingError(ImportError):
    """A package is missing that an extra would have brought."""


@contextlib.contextmanager
def needed(extra: str) -> Iterator[None]:
    """Around imports of packages that `extra` brings.

    Raises:
      MissingError: when one is not there; says how it is installed.
    """
    try:
        yield
    except MissingError:
        raise  # named already, by who knows better
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "csdm_jax":
            raise
        raise MissingError(
            f'{error.name.partition(".")[0]} is not installed: pip install "csdm_jax[{extra}]"'
        ) from error
