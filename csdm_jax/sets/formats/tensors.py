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


def reader(images: str, labels: str, lr: str) -> Callable[[Path, dict[str, Any]], Content]:
    """Reads files of these names from a folder; the last one may be missing."""

    def read(path: Path, card: dict[str, Any]) -> Content:
        folder = path if path.is_dir() else path.parent
        rate = folder / lr
        return Content(
            _array(find(folder, images), "images"),
            _array(find(folder, labels), "labels"),
            lr=torch_files.as_number(rate, torch_files.load(rate)) if rate.exists() else None,
        )

    return read


def _array(file: Path, name: str) -> np.ndarray:
    return torch_files.as_array(file, name, torch_files.load(file))
