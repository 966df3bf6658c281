"""A distilled set that is scored: read from any format, checked against the data set."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from csdm_jax.data import class_names
from csdm_jax.data.dataset import Dataset
from csdm_jax.runtime.registry import lookup
from csdm_jax.sets import importing, tracks
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.sets.formats import FORMATS, facts
from csdm_jax.sets.formats.facts import Facts
from csdm_jax.sets.formats.guess import guess


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Scored:
    """A set that is scored, as networks train on it.

    Attributes:
      images: decoded, `[n, H, W, ch]`; black is 0 and white 1, but values may lie beyond them.
      targets: `[n, K]` class probabilities.
      soft: whether labels are more than a class each.
      facts: what a reader of the score wants to know of the set, for JSON.
      lr: learning rate that was distilled with the images, if one was.
    """

    images: jax.Array
    targets: jax.Array
    soft: bool
    facts: dict[str, Any]
    lr: float | None = None

    @property
    def hard_targets(self) -> jax.Array:
        """`[n, K]`: 1 for the likeliest class of each image."""
        return jax.nn.one_hot(self.targets.argmax(1), self.targets.shape[1])

    @property
    def per_class(self) -> list[int]:
        """Training images of each class."""
        return np.bincount(self.targets.argmax(1), minlength=self.targets.shape[1]).tolist()


def read(path: Path, dataset: Dataset, said: Facts, format_name: str | None = None) -> Scored:
    """Reads a set that is to be scored on a data set.

    Args:
      path: file, or folder of the set.
      dataset: what it was distilled from.
      said: what is known beside the files. Mean and std of normalised images, when neither this
        nor a card says them, are the data set's.
      format_name: one of `csdm_jax.sets.formats.FORMATS`; guessed from the files when left out.

    Raises:
      FileNotFoundError, ImportError: as `importing.read_set`.
      ValueError: likewise, and for a set of other data.
    """
    name = format_name or guess(path)
    lookup(FORMATS, name, "format")
    if not format_name:
        logging.info("%s is taken to be in the format %s", path, name)
    card = facts.beside(path, name) if path.exists() else {}
    theirs = facts.from_card(card)
    check_data(path, theirs, dataset)
    given = Facts(
        class_names=None if _nameless(theirs, dataset) else dataset.class_names,
        num_classes=dataset.num_classes,
        image_shape=dataset.image_shape,
    )
    if not (theirs.mean or said.mean):
        given = dataclasses.replace(given, mean=dataset.mean, std=dataset.std)
    result, read_card = importing.read_set(path, name, given.agree(said, f"{dataset.name}"))
    for note in read_card["notes"]:
        logging.info("%s: %s", path, note)
    return _scored(path, name, result, read_card)


def check_data(path: Path, theirs: Facts, dataset: Dataset) -> None:
    """Raises a ValueError when a card says that the set was distilled from other data."""
    ours = {
        "image_shape": dataset.image_shape,
        "classes": dataset.num_classes,
        "class_names": dataset.class_names,
    }
    for field, value in ours.items():
        found = getattr(theirs, field)
        alike = field == "class_names" and (
            _nameless(theirs, dataset)
            or class_names.are_shuffled(theirs.class_names, dataset.class_names)
        )
        if found in (None, value) or alike:
            continue
        raise ValueError(
            f"the card of {path} says {field} {found}, the data set {dataset.name} has {value}: "
            "score it with the --config (and --data_dir) of the data it was distilled from"
        )


def _nameless(theirs: Facts, dataset: Dataset) -> bool:
    """Whether a card has numbers in place of class names that nobody knew."""
    numbers = class_names.numbers(dataset.num_classes)
    return theirs.class_names == numbers and sorted(dataset.class_names) != sorted(numbers)


def _scored(path: Path, name: str, result: DistilledSet, card: dict[str, Any]) -> Scored:
    images, targets = result.training_data()
    digest = hashlib.sha256(repr((result.parameterisation, result.factor)).encode())
    for array in (result.images, result.labels):
        digest.update(repr((array.shape, array.dtype.name)).encode() + array.tobytes())
    described = {
        "path": str(path),
        "format": name,
        "sha256": digest.hexdigest(),
        "images": len(result.images),
        "training_images": len(images),
        "labels": "soft" if result.soft else "hard",
        "soft_labels": card.get(tracks.SOFT),
        "lr": result.lr,
        "outside": card["outside"],
        "value_range": card["value_range"],
        "mean": card["mean"],
        "std": card["std"],
        "notes": card["notes"],
    }
    return Scored(images, targets, result.soft, described, result.lr)
