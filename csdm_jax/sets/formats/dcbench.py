"""DC, DSA, DM and DC-BENCH: a dict whose `data` is a list of `[images, labels]`, one a repetition.

Images are NCHW and normalised. The files of these authors hold accuracies beside the images, as
NumPy numbers, which are passed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from csdm_jax.sets.formats import torch_files
from csdm_jax.sets.formats.base import Content, Format, find

NAME = "res.pt"
PATTERN = "res_*.pt"  # res_DM_CIFAR10_ConvNet_10ipc.pt
# What a pickled NumPy number or array names; NumPy 1 wrote `core`.
NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.multiarray.{maker}"
        for core in ("core", "_core")
        for maker in ("scalar", "_reconstruct")
    ),
)


def write(folder: Path, content: Content) -> dict[str, Any]:
    """Writes `res.pt`."""
    torch_files.save(folder / NAME, {"data": [[content.images, content.labels]]})
    return {}


def read(path: Path, card: dict[str, Any]) -> Content:
    """Reads the first repetition in a file, or in `res.pt` or the only `res_*.pt` in a folder."""
    file = find(path, NAME, PATTERN)
    saved = torch_files.load(file, dropped=NUMPY)
    data = saved.get("data") if isinstance(saved, dict) else None
    if not (isinstance(data, list) and data):
        raise ValueError(
            f"{file} must hold a dict with 'data', a list of [images, labels], got "
            f"{type(saved).__name__} with data of {type(data).__name__}: "
            "is this the format of the file?"
        )
    notes = (f"first of the {len(data)} repetitions in the file",) if len(data) > 1 else ()
    return Content(*torch_files.as_pair(file, data[0]), notes=notes)


FORMAT = Format(layout="NCHW", space="normalised", soft=None, write=write, read=read, files=(NAME,))
