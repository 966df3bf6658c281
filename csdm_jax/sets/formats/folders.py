"""Output folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that is renamed to it when all went well.

    Raises:
      FileExistsError: when `out` holds something, a run for instance.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists: choose a new or an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as private:
        partial = Path(private) / "whole"  # with usual permissions: `private` is its owner's alone
        partial.mkdir()
        yield partial
        os.replace(partial, out)
