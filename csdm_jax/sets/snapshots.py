"""What the images looked like along a run: `snapshots/<step>.npz`, a few images a class.

One is kept after 0, 1, 2, 4, 8, ... times `distill.log_every` steps; the end is the distilled set
itself. So a run of ten thousand steps has nine or so, none larger than `PIXELS` pixels, and they
are the same bytes wherever it was stopped.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from csdm_jax.data.longtail import head_to_tail
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.storage import files
from csdm_jax.storage.npz import read_npz

FOLDER = "snapshots"
CLASSES, COLUMNS = 10, 8
PIXELS = 2**17


class Snapshot(NamedTuple):
    """Some of the images after a number of steps.

    Attributes:
      step: that number.
      images: uint8 `[n, H, W, ch]`.
      labels: int32 `[n]`, the class of each; head to tail.
    """

    step: int
    images: np.ndarray
    labels: np.ndarray


class Snapshots:
    """Those of a run.

    Args:
      folder: of the files.
      counts: training images of each class.
      every: steps between two looks at the most.
    """

    def __init__(self, folder: Path, counts: Sequence[int], *, every: int):
        self._folder, self._counts, self._every = folder, counts, every

    def due(self, step: int) -> bool:
        """Whether one is kept after so many steps."""
        times, rest = divmod(step, self._every)
        return not rest and not times & (times - 1)  # 0 and the powers of two

    def write(self, step: int, made: DistilledSet) -> None:
        """Keeps one."""
        found, buffer = taken(step, made, self._counts), io.BytesIO()
        np.savez_compressed(buffer, images=found.images, labels=found.labels)
        files.write_bytes(self._folder / f"{step:08d}.npz", buffer.getvalue())

    def rewind(self, step: int) -> None:
        """Removes those of later steps."""
        for path in self._folder.glob("*.npz"):
            if not path.stem.isdecimal() or int(path.stem) > step:
                path.unlink()


def taken(step: int, made: DistilledSet, counts: Sequence[int]) -> Snapshot:
    """The snapshot of a set: a few images of up to `CLASSES` classes from head to tail."""
    images = made.images
    classes = np.repeat(made.classes, len(images) // len(made.labels))
    size = int(np.prod(images.shape[1:3]))
    order = head_to_tail(counts)
    most = max(1, min(CLASSES, PIXELS // size))
    order = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), most)).astype(int))]
    columns = max(1, min(COLUMNS, PIXELS // (size * len(order))))
    rows = np.concatenate([np.flatnonzero(classes == label)[:columns] for label in order])
    known = np.nan_to_num(images[rows])  # the loop itself stops at what is no number
    pixels = np.rint(np.clip(known, 0, 1) * 255).astype(np.uint8)
    return Snapshot(step, pixels, classes[rows].astype(np.int32))


def read(folder: Path, last: int) -> list[Snapshot]:
    """The snapshots of a run's folder before the step `last`, in order; none of an older run.

    One that is damaged is set aside, a file of another name is passed over.
    """
    found = []
    for path in sorted((folder / FOLDER).glob("*.npz")):
        if not path.stem.isdecimal() or int(path.stem) >= last:
            continue
        try:
            found.append(Snapshot(int(path.stem), **read_npz(path, ("images", "labels"))))
        except ValueError as error:
            files.set_aside(path, error)
    return found
