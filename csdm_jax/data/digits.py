"""Scikit-learn's 1 797 scans of handwritten digits, 8x8: a real data set that needs no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from csdm_jax.data.dataset import Dataset, pixel_statistics

TEST_PER_CLASS = 50


def load(data_dir: Path | None, cache_dir: Path | None) -> Dataset:
    """The digits with a balanced test set of 50 images per class, the rest for training.

    Grey levels 0..16 become `round(255 v / 16)`. The scans come with scikit-learn and need no
    cache.

    Raises:
      ValueError: when there is a `data_dir`, which would be ignored.
    """
    if data_dir is not None:
        raise ValueError(
            f"data_dir = {str(data_dir)!r}: the data set 'digits' comes with scikit-learn and is "
            "not read from there: leave it out, or name another data set in data.name"
        )
    table = np.loadtxt(_file(), delimiter=",", dtype=np.float64)
    images = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[..., None]
    labels = table[:, -1].astype(np.int32)
    test = np.sort(np.concatenate([_test_rows(labels, c) for c in range(10)]))
    train = np.setdiff1d(np.arange(len(labels)), test)
    mean, std = pixel_statistics(images[train])
    return Dataset(
        "digits",
        images[train],
        labels[train],
        images[test],
        labels[test],
        tuple(map(str, range(10))),
        mean,
        std,
    )


def _file() -> Path:
    """The scans, where scikit-learn has them; importing it would cost every start two seconds."""
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise ImportError("the data set 'digits' comes with scikit-learn: install scikit-learn")
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _test_rows(labels: np.ndarray, label: int) -> np.ndarray:
    # RandomState's stream is frozen by NumPy's policy, so the split stays the same for good.
    order = np.random.RandomState(label).permutation(np.flatnonzero(labels == label))
    return order[:TEST_PER_CLASS]
