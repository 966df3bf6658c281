"""Lists of positions in a training set, read from files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

KEYS = ("indices", "index", "idx")


def read_indices(path: Path) -> tuple[np.ndarray, str]:
    """Positions of training images, in the file's order.

    Args:
      path: `.txt`: integers between spaces, commas or line ends, `#` starts a comment; `.npy`: an
        array of integers; `.json`: a list, a list of a list for each class, or an object of lists
        by class or with the one key "indices". The lists of LTDD and its followers are of these
        kinds.

    Returns:
      int64 `[n]` and the SHA-256 of the file.

    Raises:
      ValueError: for a missing file, another kind of file, or one that holds something else.
    """
    if not path.is_file():
        raise ValueError(f"data.indices_file={path} is no file: give a .txt, .npy or .json of one")
    content = path.read_bytes()
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} must end in {', '.join(READERS)}: write the positions as one")
    try:
        rows = np.asarray(reader(content))
        if not (rows.ndim == 1 and (np.issubdtype(rows.dtype, np.integer) or not rows.size)):
            raise ValueError(f"it holds {rows.dtype} of shape {rows.shape}")
    except (ValueError, TypeError, OverflowError, RecursionError, EOFError) as error:
        raise ValueError(
            f"cannot read positions from {path}: {error}; it must list integers, from 0"
        ) from error
    return rows.astype(np.int64), hashlib.sha256(content).hexdigest()


def _text(content: bytes) -> list[int]:
    lines = (line.partition("#")[0] for line in content.decode().splitlines())
    return [int(one) for line in lines for one in line.replace(",", " ").split()]


def _npy(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


def _json(content: bytes) -> list[Any]:
    value = json.loads(content)
    if isinstance(value, dict):
        value = next((value[key] for key in KEYS if key in value), list(value.values()))
    if value and all(isinstance(one, list) for one in value):
        value = [position for one in value for position in one]
    return value


READERS: dict[str, Callable[[bytes], Any]] = {".txt": _text, ".npy": _npy, ".json": _json}
