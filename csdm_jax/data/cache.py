"""Decoded data sets on disk, so that the second start is fast."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.data import images
from csdm_jax.data.dataset import Dataset, check_dataset
from csdm_jax.runtime import paths

FORMAT_VERSION = 2  # raise it whenever decoding or the layout below changes
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
META = "meta.json"


def cached(
    name: str, identity: Any, cache_dir: Path | None, build: Callable[[], Dataset]
) -> Dataset:
    """The data set from the cache; built, checked and stored when absent or damaged.

    Args:
      name: start of the cache entry's name.
      identity: JSON-serialisable description of everything the arrays depend on.
      cache_dir: directory of all entries; None is `$XDG_CACHE_HOME/csdm_jax` or
        `~/.cache/csdm_jax`.
      build: decodes the data set.

    Returns:
      The data set, its arrays mapped from disk read-only where they come from the cache.

    Raises:
      ValueError: when the cache directory cannot be written, or as `check_dataset`.
    """
    text = json.dumps([FORMAT_VERSION, images.RULE, identity], sort_keys=True)
    directory = _directory(cache_dir)
    entry = directory / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    dataset = _read(entry)
    if dataset is None:
        dataset = check_dataset(build())
        _write(entry, dataset)
    return dataset


def _directory(cache_dir: Path | None) -> Path:
    directory = cache_dir or paths.cache("cache_dir (--config.data.cache_dir)") / "csdm_jax"
    try:  # before minutes of decoding, not after
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError as error:
        raise ValueError(
            f"the cache directory {directory} must be writable ({error}): "
            "give another one as cache_dir or in XDG_CACHE_HOME"
        ) from error


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(entry: Path) -> Dataset | None:
    """The entry, or None when any part of it is absent or not what was written."""
    try:
        meta = json.loads((entry / META).read_text())
        if any(_digest(entry / f"{a}.npy") != meta["sha256"][a] for a in ARRAYS):
            return None
        arrays = {a: np.load(entry / f"{a}.npy", mmap_mode="r", allow_pickle=False) for a in ARRAYS}
        constants = (tuple(meta[k]) for k in ("class_names", "mean", "std"))
        more = {name: meta[name] for name in ("own", "facts")}
        return Dataset(meta["name"], *(arrays[a] for a in ARRAYS), *constants, **more)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(entry: Path, dataset: Dataset) -> None:
    """Writes the entry beside its place and moves it there whole."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    try:
        for array in ARRAYS:
            np.save(temporary / f"{array}.npy", getattr(dataset, array), allow_pickle=False)
        meta = {
            "name": dataset.name,
            "class_names": dataset.class_names,
            "mean": dataset.mean,
            "std": dataset.std,
            "own": dataset.own,
            "facts": dataset.facts,
            "sha256": {a: _digest(temporary / f"{a}.npy") for a in ARRAYS},
        }
        (temporary / META).write_text(json.dumps(meta, indent=1))
        shutil.rmtree(entry, ignore_errors=True)  # what was there did not pass the checks
        os.replace(temporary, entry)
    except OSError:
        # Another process may have put the same entry there first; anything else is an error.
        if _read(entry) is None:
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
