"""Data sets by name, their long-tailed subsets and batches on the device."""

from __future__ import annotations

import functools
import os
from collections import ChainMap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from csdm_jax.data import digits, folder, imagenet_subsets, npz, tfds_source
from csdm_jax.data.arrays import from_arrays
from csdm_jax.data.dataset import Dataset
from csdm_jax.data.reading import AS_IT_IS, Reading
from csdm_jax.runtime import paths
from csdm_jax.runtime.registry import Registry, lookup

__all__ = ["OWN", "SOURCES", "Dataset", "Reading", "from_arrays", "load"]

Source = Callable[[Path | None, Path | None], Dataset]

_TFDS = [tfds_source.CIFAR10, tfds_source.CIFAR100, *imagenet_subsets.SPECS]

SOURCES: dict[str, Source] = {
    "digits": digits.load,
    **{spec.name: functools.partial(tfds_source.load, spec) for spec in _TFDS},
}
"""Benchmarks, whose images and splits are what they are."""

OWN: Registry[Callable[[Path | None, Path | None, Reading], Dataset]] = Registry(
    "data set", "csdm_jax.data", {"folder": folder.load, "npz": npz.load}, reserved=SOURCES
)
"""A user's own data."""

ALL: ChainMap[str, Any] = ChainMap(SOURCES, OWN)  # type: ignore[arg-type]

EMBEDDED = ("digits",)
"""Data sets that come with a package: they are read from no `data_dir`."""


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    reading: Reading = AS_IT_IS,
) -> Dataset:
    """Loads a data set.

    Args:
      name: one of `SOURCES` or `OWN`; "imagenette" is fast.ai's, "imagenette_imagenet" the same
        classes of ImageNet-1k.
      data_dir: where the data lie: a TFDS directory, an image folder or .zip ("folder"), or an
        .npz file ("npz"). None or "" is TFDS's own default.
      cache_dir: where decoded images are kept; None or "" is the user's cache directory.
      reading: at which size, and with which test images, own data are read.

    Returns:
      The whole, checked data set.

    Raises:
      ValueError: for an unknown name, or data that are missing, damaged or inconsistent.
      ImportError: when a package that the source needs is missing.
    """
    lookup(ALL, name, "data set")
    data_path, cache_path = (paths.given(p) if p else None for p in (data_dir, cache_dir))
    if name in OWN:
        return OWN[name](data_path, cache_path, reading)
    if reading.facts:
        raise ValueError(
            f"{name} has its size and test set, but {reading.facts} was asked for: leave "
            "data.image_size and data.holdout at 0, or give data.name=folder or npz"
        )
    return SOURCES[name](data_path, cache_path)
