"""NCFM: one file with the list `[images, labels]`, images in [0, 1], NCHW, class-major.

Its stored images are mosaics that its code cuts and up-samples before training, by the `factor` of
its configuration (2 for CIFAR). Its tiles are cut row by row, as ours are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from csdm_jax.sets.formats import torch_files
from csdm_jax.sets.formats.base import Content, Format, find

NAME = "data.pt"
PATTERN = "data_*.pt"  # its code numbers the files by the step


def write(folder: Path, content: Content) -> dict[str, Any]:
    """Writes `data.pt`."""
    torch_files.save(folder / NAME, [content.images, content.labels])
    return {}


def read(path: Path, card: dict[str, Any]) -> Content:
    """Reads a file of any name, or `data.pt` or the only `data_*.pt` in a folder."""
    file = find(path, NAME, PATTERN)
    return Content(*torch_files.as_pair(file, torch_files.load(file)))


FORMAT = Format(
    layout="NCHW",
    space="unit",
    soft=None,
    write=write,
    read=read,
    files=(NAME,),
    mosaics=True,
    factor=2,
    notes=("give NCFM's configuration the factor of this card",),
)
