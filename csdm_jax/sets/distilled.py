"""The distilled set: what a run leaves behind, and how it is read back.

`distilled.npz` holds `images` (float32 `[n, H, W, ch]` in [0, 1], class-major) and `labels`
(int32 `[n]`, or float32 `[n, K]` class probabilities); `card.json` beside it says all that a user
needs to train on them. The card holds the SHA-256 of the arrays and of itself, so that damage is
noticed.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import parameterisations
from csdm_jax.storage import files
from csdm_jax.storage.npz import read_npz

FORM = ("parameterisation", "factor", "num_classes")
ARRAYS, CARD = "distilled.npz", "card.json"
DIGEST = "distilled_sha256"
"""Field of the card: the SHA-256 of the arrays' file."""


@dataclasses.dataclass(frozen=True)
class DistilledSet:
    """Stored synthetic images with their labels.

    Attributes:
      images: float32 `[n, H, W, ch]` in [0, 1].
      labels: int32 `[n]` or float32 `[n, K]` (soft).
      parameterisation: name of `csdm_jax.parameterisations`.
      factor: its factor.
      num_classes: K.
    """

    images: np.ndarray
    labels: np.ndarray
    parameterisation: str
    factor: int
    num_classes: int

    @property
    def soft(self) -> bool:
        """Whether labels are class probabilities."""
        return self.labels.ndim == 2

    def training_data(self) -> tuple[jax.Array, jax.Array]:
        """What a network trains on.

        Returns:
          Decoded images `[n * tiles, H, W, ch]` in [0, 1] and targets `[n * tiles, K]`, the
          probability of each class.
        """
        form = parameterisations.create(self.parameterisation, self.factor)
        images = form.decode(jnp.asarray(self.images))
        labels = jnp.asarray(self.labels)
        targets = labels if self.soft else jax.nn.one_hot(labels, self.num_classes)
        return images, jnp.repeat(targets.astype(jnp.float32), form.tiles, axis=0)


def check(distilled: DistilledSet) -> None:
    """Raises a ValueError when the fields break the rules of `DistilledSet`."""
    images, labels = distilled.images, distilled.labels
    for name in ("factor", "num_classes"):
        value = getattr(distilled, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    parameterisations.create(distilled.parameterisation, distilled.factor)
    if images.ndim != 4 or 0 in images.shape or not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"distilled images must be floats [n, H, W, ch], got {images.dtype} {images.shape}"
        )
    if not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            "distilled images must be finite and within [0, 1], got values from "
            f"{images.min()} to {images.max()}: undo the normalisation first"
        )
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise ValueError(
            f"{len(images)} distilled images need as many labels, [n] or [n, K], got shape "
            f"{labels.shape}"
        )
    if distilled.soft:
        sums = labels.sum(1)
        shaped = labels.shape[1] == distilled.num_classes
        if not (
            shaped
            and labels.dtype.kind == "f"
            and labels.min() >= 0
            and np.allclose(sums, 1, atol=1e-3)
        ):
            raise ValueError(
                f"soft labels must be probabilities [n, {distilled.num_classes}], got "
                f"{labels.shape} with rows that sum to {sums.min():.3g}..{sums.max():.3g}"
            )
    elif labels.dtype.kind not in "iu":
        raise ValueError(f"labels [n] must be integers, class numbers from 0, got {labels.dtype}")
    elif labels.min() < 0 or labels.max() >= distilled.num_classes:
        raise ValueError(
            f"labels must lie in 0..{distilled.num_classes - 1}, got {labels.min()}..{labels.max()}"
        )


def save(folder: Path, distilled: DistilledSet, card: dict[str, Any]) -> None:
    """Writes `distilled.npz` and `card.json`, each whole or not at all.

    Args:
      folder: where; made when missing.
      distilled: the set.
      card: facts beside it; the fields that `load` needs are added here.
    """
    check(distilled)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=distilled.images, labels=distilled.labels)
    files.write_bytes(folder / ARRAYS, buffer.getvalue())
    form = {
        "parameterisation": distilled.parameterisation,
        "factor": distilled.factor,
        "num_classes": distilled.num_classes,
        "label_kind": "soft (class probabilities)" if distilled.soft else "hard (class index)",
        DIGEST: files.sha256(folder / ARRAYS),
    }
    files.write_sealed_json(folder / CARD, card | form)


def load(folder: Path) -> tuple[DistilledSet, dict[str, Any]]:
    """Reads a distilled set and its card back. Pickled objects in the file are refused.

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
    if missing := [name for name in (*FORM, DIGEST) if name not in card]:
        raise ValueError(f"{folder / CARD} lacks {', '.join(missing)}: it is no card of a set")
    if files.sha256(folder / ARRAYS) != card[DIGEST]:
        raise files.DamagedError(f"{folder / ARRAYS} is not the file that its card describes")
    arrays = read_npz(folder / ARRAYS, ("images", "labels"))
    distilled = DistilledSet(arrays["images"], arrays["labels"], *(card[name] for name in FORM))
    check(distilled)
    return distilled, card
