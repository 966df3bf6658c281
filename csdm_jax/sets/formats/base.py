"""What a format is, and what one of its files holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_VALUES = 2**30  # pixel values of one set, 4 GiB as float32: 50 images of each of 400 classes
LISTED = 12  # file names in a message
# Where pixel values live: [0, 1], (x - mean) / std, 0..255, or whitened.
SPACES = ("unit", "normalised", "uint8", "zca")


@dataclasses.dataclass(frozen=True)
class Content:
    """Arrays as a file holds them.

    Attributes:
      images: `[n, H, W, ch]` or `[n, ch, H, W]`, in the space of the format.
      labels: integers `[n]`, or floats `[n, K]`: probabilities, or logits.
      lr: learning rate that was distilled with the images, if one was.
      class_names: in label order, where the file says them.
      notes: what the reader had to choose.
      decoded: whether the reader has decoded what the card says is stored.
    """

    images: np.ndarray
    labels: np.ndarray
    lr: float | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    decoded: bool = False


@dataclasses.dataclass(frozen=True)
class Format:
    """How one kind of file stores a distilled set.

    Attributes:
      layout: "NHWC" or "NCHW".
      space: where its pixel values live, one of `SPACES`; None where its files do not say.
      soft: what float labels are in it, "probabilities" or "logits"; None where it has none.
      write: writes a `Content` into a folder; returns fields for the card.
      read: reads a file or folder, with the card beside it (empty without one).
      files: names or patterns of the files that a folder of this format has.
      mosaics: whether mosaics are stored as they are; otherwise decoded images are written.
      factor: side of the mosaics in files that carry no card.
      ours: whether a reader of this format knows `csdm_jax`'s card, so that mosaics stay mosaics.
      notes: sentences for the card.
    """

    layout: str
    space: str | None
    soft: str | None
    write: Callable[[Path, Content], dict[str, Any]]
    read: Callable[[Path, dict[str, Any]], Content]
    files: tuple[str, ...]
    mosaics: bool = False
    factor: int = 1
    ours: bool = False
    notes: tuple[str, ...] = ()


def check_size(where: Path, shape: tuple[int, ...]) -> None:
    """Raises a ValueError for an array of more than `MAX_VALUES`, before it is made."""
    if math.prod(shape) > MAX_VALUES:
        raise ValueError(
            f"{where} claims an array of shape {tuple(shape)}, more than {MAX_VALUES} values: "
            "split the set, or raise csdm_jax.sets.formats.base.MAX_VALUES if it is meant"
        )


def find(path: Path, name: str, pattern: str | None = None) -> Path:
    """The file itself, or the file of that name in a folder.

    Args:
      path: file or folder.
      name: of the file in a folder.
      pattern: of the names that the format's authors give it; the only such file is taken too.

    Raises:
      FileNotFoundError: when there is none, or several by the pattern; lists what is there.
    """
    file = path / name if path.is_dir() else path
    if file.is_file():
        return file
    alike = sorted(path.glob(pattern)) if pattern and path.is_dir() else []
    if len(alike) == 1:
        return alike[0]
    kind = f"one of {pattern}" if pattern else f"a {name}"
    raise FileNotFoundError(
        f"{file} does not exist{present(path, alike)}: give {kind} or the folder with one"
    )


def present(path: Path, files: Sequence[Path] = ()) -> str:
    """The names of some files, or of all in a folder, as the end of a sentence."""
    if not path.is_dir():
        return ""
    names = [one.name for one in files or sorted(path.iterdir())]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f", the folder holds {', '.join(names[:LISTED])}{more}"
        if names
        else ", the folder is empty"
    )
