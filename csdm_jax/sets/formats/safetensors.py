"""Safetensors: plain arrays that every framework reads, without pickle.

One file, `distilled.safetensors`, with `images` (float32 NHWC in [0, 1], decoded) and `labels`
(int64 `[n]`, or float32 `[n, K]` probabilities).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.runtime import extras
from csdm_jax.sets.formats.base import Content, Format, check_size, find

NAME = "distilled.safetensors"


def write(folder: Path, content: Content) -> dict[str, Any]:
    """Writes `distilled.safetensors`."""
    arrays = {"images": content.images, "labels": content.labels}
    # The writer takes the bytes as they lie in memory, so a transposed view would be scrambled.
    with extras.needed("formats"):
        from safetensors.numpy import save_file

    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / NAME)
    return {}


def read(path: Path, card: dict[str, Any]) -> Content:
    """Reads `images` and `labels`; the header is checked before the arrays are made."""
    with extras.needed("formats"):
        from safetensors import SafetensorError, safe_open

    file = find(path, NAME)
    try:
        with safe_open(file, framework="numpy") as arrays:
            for name in ("images", "labels"):
                check_size(file / name, tuple(arrays.get_slice(name).get_shape()))
            return Content(arrays.get_tensor("images"), arrays.get_tensor("labels"))
    except (SafetensorError, TypeError) as error:  # TypeError: a dtype that NumPy lacks
        raise ValueError(
            f"cannot read {file}: {error}; it must hold the arrays 'images' and 'labels'"
        ) from error


FORMAT = Format(
    layout="NHWC", space="unit", soft="probabilities", write=write, read=read, files=(NAME,)
)
