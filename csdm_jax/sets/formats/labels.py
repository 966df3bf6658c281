"""Labels: class numbers, probabilities and logits."""

from __future__ import annotations

import numpy as np

from csdm_jax.sets.formats.base import Format

SMALLEST = 1e-8  # probability that stands for 0 in logits


def to_stored(labels: np.ndarray, fmt: Format, *, logits: bool = False) -> np.ndarray:
    """Class numbers, or probabilities (or `logits`), as the format stores them.

    Raises:
      ValueError: for probabilities where the format has class numbers only.
    """
    if labels.ndim == 1:
        return labels.astype(np.int64)
    if fmt.soft is None:
        raise ValueError(
            f"this format holds class numbers only, the set has soft labels {labels.shape}: "
            "choose npz, safetensors, ddranking or mtt"
        )
    if fmt.soft == "logits" and not logits:  # their softmax is the probabilities
        return np.log(np.maximum(labels, SMALLEST)).astype(np.float32)
    if fmt.soft == "probabilities" and logits:
        return softmax(labels).astype(np.float32)
    return labels.astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities `[n, K]` of logits."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def from_stored(labels: np.ndarray, fmt: Format, images: int, classes: int | None) -> np.ndarray:
    """int32 `[n]` class numbers or float32 `[n, K]` probabilities from a file.

    Raises:
      ValueError: when they are neither, do not fit the images, or leave the classes.
    """
    if len(labels.shape) not in (1, 2) or len(labels) != images:
        raise ValueError(
            f"{images} images need as many labels, [n] or [n, K], got shape {labels.shape}: "
            "give the labels of these images"
        )
    if np.issubdtype(labels.dtype, np.integer) and labels.ndim == 1:
        return _hard(labels, classes)
    if not np.issubdtype(labels.dtype, np.floating) or labels.ndim != 2:
        raise ValueError(
            f"labels must be integers [n] or floats [n, K], got {labels.dtype} {labels.shape}: "
            "convert them"
        )
    if fmt.soft is None:
        raise ValueError(
            f"this format holds integer labels only, got {labels.dtype} {labels.shape}: "
            "give another format"
        )
    return _soft(labels.astype(np.float32), fmt, classes)


def _hard(labels: np.ndarray, classes: int | None) -> np.ndarray:
    if classes is None:
        raise ValueError(
            f"the number of classes is not known (labels reach {labels.max()}, but the last class "
            "may be missing): give num_classes (--num_classes=...), class names or --like=FOLDER"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must lie in 0..{classes - 1} for {classes} classes, got "
            f"{labels.min()}..{labels.max()}: give the number of classes of this set"
        )
    return labels.astype(np.int32)


def _soft(labels: np.ndarray, fmt: Format, classes: int | None) -> np.ndarray:
    if classes not in (None, labels.shape[1]):
        raise ValueError(
            f"soft labels must have a column for each of the {classes} classes, got "
            f"{labels.shape}: give the number of classes of this set"
        )
    if not np.isfinite(labels).all():
        raise ValueError("soft labels must be finite, some are not: the file is damaged")
    if are_probabilities(labels):
        return labels
    if fmt.soft == "logits":
        return softmax(labels)
    sums = labels.sum(1)
    raise ValueError(
        "soft labels of this format must be probabilities, got values "
        f"{labels.min():.4g}..{labels.max():.4g} with rows that sum to {sums.min():.4g}.."
        f"{sums.max():.4g}: apply softmax if they are logits"
    )


def renumbered(labels: np.ndarray, places: list[int]) -> np.ndarray:
    """Class numbers or probabilities in another order of the classes: class c becomes places[c]."""
    if labels.ndim == 1:
        return np.array(places, np.int32)[labels]
    moved = np.empty_like(labels)
    moved[:, places] = labels
    return moved


def class_major(labels: np.ndarray) -> np.ndarray:
    """Positions that sort class numbers, each class in its own order; soft labels stay put."""
    if labels.ndim == 2:
        return np.arange(len(labels))
    return np.argsort(labels, kind="stable")


def order(labels: np.ndarray) -> str:
    """What a card says of the order of the images."""
    classes = labels.argmax(1) if labels.ndim == 2 else labels
    return "class-major" if np.all(np.diff(classes) >= 0) else "classes in no order"


def are_probabilities(labels: np.ndarray) -> bool:
    """Whether no row is negative and every row sums to 1, as logits' rows do not by chance."""
    return bool(labels.min() >= 0 and np.allclose(labels.sum(1), 1, atol=1e-3))
