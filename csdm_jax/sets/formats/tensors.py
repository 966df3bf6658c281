"""Sets whose images, labels and learning rate lie in a `.pt` file each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.sets.formats import torch_files
from csdm_jax.sets.formats.base import Content, find


def writer(images: str, labels: str, lr: str) -> Callable[[Path, Content], dict[str, Any]]:
    """Writes files of these names; the last one only for a set that has a learning rate."""

    def write(folder: Path, content: Content) -> dict[str, Any]:
        torch_files.save(folder / images, content.images)
        torch_files.save(folder / labels, content.labels)
        if content.lr is not None:
            torch_files.save(folder / lr, np.array(content.lr, np.float32))
        return {}

    return write


def reader(
    images: str, labels: str, lr: str, pattern: str | None = None
) -> Callable[[Path, dict[str, Any]], Content]:
    """Reads files of these names from a folder; the last one may be missing.

    Likewise `images_1000.pt` with the `labels_1000.pt` beside it: a file that is named, or the only
    one that fits the pattern in a folder.
    """

    def read(path: Path, card: dict[str, Any]) -> Content:
        file = find(path, images, pattern)
        ending = file.name.partition("images")[2]
        if file.name != images and not (file.name.startswith("images") and ending):
            file = find(file.parent, images)
        folder = file.parent
        names = (labels, lr) if file.name == images else (f"labels{ending}", f"lr{ending}")
        rate = folder / names[1]
        return Content(
            _array(file, "images"),
            _array(find(folder, names[0]), "labels"),
            lr=torch_files.as_number(rate, torch_files.load(rate)) if rate.exists() else None,
        )

    return read


def _array(file: Path, name: str) -> np.ndarray:
    return torch_files.as_array(file, name, torch_files.load(file))
