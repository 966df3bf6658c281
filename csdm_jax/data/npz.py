"""A NumPy archive with the arrays x_train, y_train, x_test and y_test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from csdm_jax.data.dataset import Dataset, check_dataset, pixel_statistics
from csdm_jax.storage.npz import read_npz

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def load(data_dir: Path | None, cache_dir: Path | None) -> Dataset:
    """Reads the archive; nothing in it is unpickled, and nothing is cached.

    Args:
      data_dir: the .npz file. Images `[n, H, W]` or `[n, H, W, ch]` uint8, labels `[n]` or
        `[n, 1]` integers from 0.
      cache_dir: unused, the arrays need no decoding.

    Raises:
      ValueError: for a missing or damaged file, a missing array, pickled objects, labels that are
        not integers, or as `check_dataset`.
    """
    if data_dir is None or not data_dir.is_file():
        raise ValueError(
            f"data set 'npz' needs data_dir to be an .npz file, got {data_dir}: "
            f"write one with np.savez(path, {', '.join(f'{a}=...' for a in ARRAYS)})"
        )
    x_train, y_train, x_test, y_test = read_npz(data_dir, ARRAYS).values()
    train_labels, test_labels = _labels(data_dir, y_train), _labels(data_dir, y_test)
    train_images, test_images = (x[..., None] if x.ndim == 3 else x for x in (x_train, x_test))
    names = tuple(str(c) for c in range(len(np.unique(train_labels))))
    # Statistics of anything but uint8 would fail before the check that explains why.
    is_pixels = train_images.dtype == np.uint8 and train_images.size
    mean, std = pixel_statistics(train_images) if is_pixels else ((), ())
    return check_dataset(
        Dataset(
            data_dir.stem, train_images, train_labels, test_images, test_labels, names, mean, std
        )
    )


def _labels(path: Path, labels: np.ndarray) -> np.ndarray:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{path}: labels must be integers, got {labels.dtype}: "
            "store class numbers from 0, not one-hot rows or names"
        )
    column = labels.ndim == 2 and labels.shape[1] == 1
    limits = np.iinfo(np.int32)
    return np.clip(labels[:, 0] if column else labels, limits.min, limits.max).astype(np.int32)
