"""What a caller gives, as the engine takes it: data, a configuration, a folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from csdm_jax import data
from csdm_jax.data.arrays import from_arrays
from csdm_jax.experiment import config as configuration
from csdm_jax.runtime import paths

PRESETS = ("paper", "cpu")
Arrays = tuple[Any, Any]
"""Images and labels, as `csdm_jax.data.from_arrays` takes them."""


def dataset_of(
    images: Any,
    labels: Any,
    test: Arrays | None,
    class_names: Sequence[str] | None,
    config: Any,
) -> data.Dataset:
    """The arrays that a caller gives, with an empty test set where none was asked for."""
    images, labels = np.asarray(images), np.asarray(labels)
    if test is not None:
        check_test(test)
    if test is None and not config.data.holdout:
        test = images[:0], labels[:0]
    reading = data.Reading.of(config.data)
    return from_arrays(images, labels, *(test or ()), class_names=class_names, reading=reading)


def check_test(test: Any) -> None:
    """Refuses, as test images with labels, what is not a pair of both."""
    if not (isinstance(test, tuple | list) and len(test) == 2):
        kind = type(test).__name__
        kind += f" of length {len(test)}" if isinstance(test, tuple | list) else ""
        raise ValueError(f"test must be a pair, got {kind}: give test=(images, labels)")


def configuration_of(
    ipc: int,
    holdout: float,
    preset: str,
    given: Mapping[str, Any],
    fields: Mapping[str, Any] | None,
) -> Any:
    """That of `configs/own_data.py`, with what a caller gives."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    cpu = ",cpu" if preset == "cpu" else ""
    config = configuration.load(f"own_data:source=npz,holdout={holdout},ipc={ipc}{cpu}")
    config.baselines = ()
    for name, value in (dict(given) | dict(fields or {})).items():
        value = _plain(value)
        configuration.check_field(name, value)
        config.update_from_flattened_dict({name: value})
    configuration.validate(config)
    return config


def _plain(value: Any) -> Any:
    """A value as a configuration holds it: numbers of Python, and tuples."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple | range) else value


def folder_of(workdir: Any, what: str, dataset: data.Dataset, config: Any) -> Path:
    """The folder that is given, or one of its own for these data and settings."""
    if workdir is not None:
        return paths.given(workdir)
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode())
    for split in ("train", "test"):
        for part in ("images", "labels"):
            digest.update(np.ascontiguousarray(getattr(dataset, f"{split}_{part}")).data)
    digest.update(repr(dataset.class_names).encode())
    return Path("runs") / f"{what}-{digest.hexdigest()[:12]}"


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Shows progress as the commands do, unless the program asked absl for errors alone."""
    before = logging.get_verbosity()
    if before == logging.WARNING:  # what it is where nobody has chosen
        logging.set_verbosity(logging.INFO)
    try:
        yield
    finally:
        logging.set_verbosity(before)
