"""The distilled set: what a run leaves behind, and how it is read back.

`distilled.npz` holds what the parameterisation stores (for pixels and mosaics `images`, float32
`[n, H, W, ch]` in [0, 1], class-major) and `labels`; `card.json` beside it says all that a user
needs to train on them. The card holds the SHA-256 of the arrays and of itself, so that damage is
noticed.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import parameterisations
from csdm_jax.storage import files
from csdm_jax.storage.npz import read_npz

FIELDS = ("parameterisation", "factor", "num_classes")
ARRAYS, CARD = "distilled.npz", "card.json"
DIGEST = "distilled_sha256"
"""The card's field with the SHA-256 of the arrays' file."""
KINDS = {
    "hard": "hard (class index)",
    "probabilities": "soft (class probabilities)",
    "logits": "soft (logits: their softmax is the class probabilities)",
}
"""Kinds of labels, and what the card says of them."""


@dataclasses.dataclass(frozen=True)
class DistilledSet:
    """Stored synthetic images with their labels.

    Attributes:
      stored: float arrays by name, as the parameterisation stores them; an array alone is
        `images`, float32 `[n, H, W, ch]` in [0, 1].
      labels: of each of the n stored images: int32 `[n]`, or float32 `[n, K]` (soft). Or of each
        of the n * tiles images that they decode to, in their order, as many rows.
      parameterisation: name of `csdm_jax.parameterisations`.
      factor: its factor.
      num_classes: number of classes K.
      logits: whether soft labels are logits rather than probabilities.
      lr: learning rate that was distilled with the images, for gradient descent on them; None when
        evaluation has its own.
    """

    stored: Mapping[str, np.ndarray]
    labels: np.ndarray
    parameterisation: str
    factor: int
    num_classes: int
    logits: bool = False
    lr: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.stored, Mapping):
            object.__setattr__(self, "stored", {"images": self.stored})

    @property
    def codec(self) -> parameterisations.Parameterisation:
        """How the images are stored."""
        return parameterisations.create(self.parameterisation, self.factor)

    @property
    def soft(self) -> bool:
        """Whether there is a label for every class of an image."""
        return self.labels.ndim == 2

    @property
    def tiles_labelled(self) -> bool:
        """Whether each decoded image has a label of its own, rather than each stored one."""
        return self.codec.tiles > 1 and len(self.labels) == _decoded_count(self)

    @property
    def label_kind(self) -> str:
        """One of `KINDS`."""
        return "hard" if not self.soft else "logits" if self.logits else "probabilities"

    @property
    def probabilities(self) -> np.ndarray:
        """float32 `[n, K]`: class probabilities, a row for each of `labels`, whatever these are."""
        if not self.soft:
            return np.eye(self.num_classes, dtype=np.float32)[self.labels]
        labels = jax.nn.softmax(jnp.asarray(self.labels)) if self.logits else self.labels
        return np.asarray(labels, np.float32)

    @property
    def classes(self) -> np.ndarray:
        """int `[n]`: the class, or the most probable one, of each stored image."""
        if self.tiles_labelled:
            of_tiles = self.probabilities.reshape(-1, self.codec.tiles, self.num_classes)
            return of_tiles.mean(axis=1).argmax(axis=1)
        return self.labels.argmax(1) if self.soft else self.labels

    @property
    def images(self) -> np.ndarray:
        """float32: the stored images `[n, H, W, ch]` where images are stored; else the decoded."""
        if "images" in self.stored:
            return np.asarray(self.stored["images"])
        return np.asarray(self.codec.decode(_arrays(self.stored)), np.float32)

    def of_class(self, label: int) -> np.ndarray:
        """Those of `images` that belong to a class, float32 `[k, H, W, ch]`."""
        images, classes = self.images, self.classes
        return images[np.repeat(classes, len(images) // len(classes)) == label]

    def training_data(self) -> tuple[jax.Array, jax.Array]:
        """What a network trains on.

        Returns:
          Decoded images `[n * tiles, H, W, ch]` in [0, 1] and targets `[n * tiles, K]`, the
          probability of each class.
        """
        images = self.codec.decode(_arrays(self.stored))
        return images, jnp.asarray(_of_decoded(self, self.probabilities))


def _arrays(stored: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(array) for name, array in stored.items()}


def _decoded_count(stored: DistilledSet) -> int:
    """The number of training images."""
    shapes = {n: jax.ShapeDtypeStruct(one.shape, one.dtype) for n, one in stored.stored.items()}
    return int(jax.eval_shape(stored.codec.decode, shapes).shape[0])


def _of_decoded(stored: DistilledSet, labels: np.ndarray) -> np.ndarray:
    """Labels, a row for each of `stored.labels`, as a row for each training image."""
    return labels if stored.tiles_labelled else np.repeat(labels, stored.codec.tiles, axis=0)


def decoded(stored: DistilledSet) -> DistilledSet:
    """The set with its mosaics cut and up-sampled to images float32 `[n * tiles, H, W, ch]`."""
    images, kept = np.asarray(stored.training_data()[0], np.float32), stored.images
    return dataclasses.replace(
        stored,
        # Interpolation may leave the range of the pixels by a rounding error.
        stored={"images": np.clip(images, kept.min(), kept.max())},
        labels=_of_decoded(stored, stored.labels),
        parameterisation="pixels",
        factor=1,
    )


def check(distilled: DistilledSet) -> None:
    """Raises a ValueError when the fields break the rules of `DistilledSet`."""
    for name in ("factor", "num_classes"):
        value = getattr(distilled, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    _check_stored(distilled)
    _check_labels(distilled)
    lr = distilled.lr
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"a distilled learning rate must be finite and above 0, got {lr}")


def _check_stored(distilled: DistilledSet) -> None:
    stored, codec = distilled.stored, distilled.codec
    if "images" in stored:
        _check_images(distilled.images)
    for name, array in stored.items():
        if name == "labels" or not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"stored arrays must be floats, {name!r} is {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"stored arrays must be finite, {name!r} is not")
    try:
        decoded = _decoded_count(distilled)
    except KeyError as error:
        raise ValueError(
            f"the parameterisation {distilled.parameterisation!r} misses the array {error}: "
            f"the set has {sorted(stored)}"
        ) from None
    if len(distilled.labels) not in (decoded, decoded // codec.tiles):
        raise ValueError(
            f"{decoded // codec.tiles} distilled images need as many labels, [n] or [n, K], got "
            f"shape {distilled.labels.shape}"
        )


def _check_images(images: np.ndarray) -> None:
    if images.ndim != 4 or 0 in images.shape or not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"distilled images must be floats [n, H, W, ch], got {images.dtype} {images.shape}"
        )
    if not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            "distilled images must be finite and within [0, 1], got values from "
            f"{images.min()} to {images.max()}: undo the normalisation first"
        )


def _check_labels(distilled: DistilledSet) -> None:
    labels, classes = distilled.labels, distilled.num_classes
    if labels.ndim not in (1, 2):
        raise ValueError(f"labels must be [n] or [n, K], got shape {labels.shape}")
    if distilled.soft:
        shaped = labels.shape[1] == classes and labels.dtype.kind == "f"
        if not (shaped and np.isfinite(labels).all()):
            raise ValueError(
                f"soft labels must be finite floats, logits or probabilities [n, {classes}], got "
                f"{labels.dtype} {labels.shape}"
            )
        sums = labels.sum(1)
        if not distilled.logits and not (labels.min() >= 0 and np.allclose(sums, 1, atol=1e-3)):
            raise ValueError(
                f"soft labels must be probabilities [n, {classes}], got {labels.shape} with rows "
                f"that sum to {sums.min():.3g}..{sums.max():.3g}"
            )
    elif labels.dtype.kind not in "iu":
        raise ValueError(f"labels [n] must be integers, class numbers from 0, got {labels.dtype}")
    elif labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {labels.min()}..{labels.max()}")


def save(folder: Path, distilled: DistilledSet, card: dict[str, Any]) -> None:
    """Writes `distilled.npz` and `card.json`, each whole or not at all.

    Args:
      folder: where; made when missing.
      distilled: the set.
      card: facts beside it; the fields that `load` needs are added here.
    """
    check(distilled)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {**distilled.stored, "labels": distilled.labels}
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(folder / ARRAYS, buffer.getvalue())
    fields = {
        "parameterisation": distilled.parameterisation,
        "factor": distilled.factor,
        "num_classes": distilled.num_classes,
        "arrays": list(distilled.stored),
        "label_kind": KINDS[distilled.label_kind],
        "lr": distilled.lr,
        DIGEST: files.sha256(folder / ARRAYS),
    }
    files.write_sealed_json(folder / CARD, card | fields)


def load(folder: Path) -> tuple[DistilledSet, dict[str, Any]]:
    """Reads a distilled set and its card back. Pickled objects in the file are refused.

    Args:
      folder: with `distilled.npz` and `card.json`.

    Raises:
      FileNotFoundError: when there is none in `folder`.
      DamagedError: when a file is not what was saved.
      ValueError: when the arrays break the rules of `DistilledSet`.
    """
    if not (folder / ARRAYS).exists() or not (folder / CARD).exists():
        raise FileNotFoundError(
            f"no distilled set in {folder}: run the stage 'distill' there first"
        )
    card = files.read_sealed_json(folder / CARD)
    if missing := [name for name in (*FIELDS, DIGEST) if name not in card]:
        raise ValueError(f"{folder / CARD} lacks {', '.join(missing)}: it is no card of a set")
    if files.sha256(folder / ARRAYS) != card[DIGEST]:
        raise files.DamagedError(f"{folder / ARRAYS} is not the file that its card describes")
    arrays = read_npz(folder / ARRAYS, (*card.get("arrays", ["images"]), "labels"))
    labels = arrays.pop("labels")
    logits = card.get("label_kind") == KINDS["logits"]
    fields = {name: card[name] for name in FIELDS}
    distilled = DistilledSet(arrays, labels, **fields, logits=logits, lr=card.get("lr"))
    check(distilled)
    return distilled, card
