"""Packages that come with an extra of this one: who lacks one is told its name."""

from __future__ import annotations

import contextlib
import importlib.util
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
        raise MissingError(_remedy(error.name.partition(".")[0], extra)) from error


def check(extra: str, *packages: str) -> None:
    """Looks for packages that are imported only later, when hours of work would wait for them.

    Raises:
      MissingError: when one is not there; says how it is installed.
    """
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise MissingError(_remedy(name, extra))


def _remedy(package: str, extra: str) -> str:
    return f'{package} is not installed: pip install "csdm_jax[{extra}]"'
