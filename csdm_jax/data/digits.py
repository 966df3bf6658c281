"""Scikit-learn's 1 797 scans of handwritten digits, 8x8: a real data set that needs no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from csdm_jax.data.dataset import Dataset, pixel_statistics
from csdm_jax.runtime import extras

TEST_PER_CLASS = 50


def load(data_dir: Path | None, cache_dir: Path | None) -> Dataset:
    """The digits with a balanced test set of 50 images per class, the rest for training.

    Grey levels 0..16 become `round(255 v / 16)`. The scans come with scikit-learn and need no
    cache.

    Raises:
      ValueError: when there is a `data_dir`, which would be ignored.
      MissingError: without scikit-learn.
    """
    if data_dir is not None:
        raise ValueError(
            f"data_dir = {str(data_dir)!r}: the data set 'digits' comes with scikit-learn and is "
            "not read from there: leave it out, or name another data set in data.name"
        )
    table = _table()
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


def _table() -> np.ndarray:
    """float64 `[1797, 65]`: pixels and label of each scan, from where scikit-learn has them.

    Importing scikit-learn would cost every start two seconds.
    """
    extras.check("distil", "sklearn")
    found = importlib.util.find_spec("sklearn")
    if found is not None and found.origin is not None:
        file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.exists():
            return np.loadtxt(file, delimiter=",", dtype=np.float64)
    from sklearn.datasets import load_digits  # a release that keeps them elsewhere

    scans = load_digits()
    return np.concatenate([scans.data, scans.target[:, None]], axis=1)


def _test_rows(labels: np.ndarray, label: int) -> np.ndarray:
    # RandomState's stream is frozen by NumPy's policy, so the split stays the same for good.
    order = np.random.RandomState(label).permutation(np.flatnonzero(labels == label))
    return order[:TEST_PER_CLASS]
