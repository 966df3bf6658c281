"""Writes a run's distilled set for other code.

Formats: see `csdm_jax.sets.formats`. The folder that is written holds the arrays and a `card.json`
with value range, mean and std, layout, class names, label kind and the preprocessing of training
and test images.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.runtime.registry import lookup
from csdm_jax.sets import distilled
from csdm_jax.sets.formats import FORMATS, Content, Format, labels, pixels
from csdm_jax.sets.formats.facts import Facts, from_card
from csdm_jax.sets.formats.folders import new_folder
from csdm_jax.storage import files

PREPROCESSING = {
    "unit": "(image - mean) / std",
    "uint8": "(image / 255 - mean) / std",
    "normalised": "none: the images are (x - mean) / std already",
}
SOFT = {
    "probabilities": "class probabilities, float32 [n, K]",
    "logits": "logits, float32 [n, K]: their softmax is the class probabilities",
}
TEST_PREPROCESSING = "(uint8 / 255 - mean) / std"


def export_set(folder: Path, format_name: str, out: Path) -> dict[str, Any]:
    """Writes the distilled set of a run in another format.

    Args:
      folder: a run's folder, with `distilled.npz` and `card.json`.
      format_name: one of `csdm_jax.sets.formats.FORMATS`.
      out: folder to make; it appears whole or not at all.

    Returns:
      The card that lies in it.

    Raises:
      ImportError: for a `.pt` format without PyTorch.
      OSError: when there is no set, or `out` exists or cannot be written.
      ValueError: for an unknown format, or a set that the format cannot hold.
    """
    fmt = lookup(FORMATS, format_name, "format")
    stored, card = distilled.load(Path(folder))
    del card[distilled.DIGEST]  # of the run's file, not of what is written here
    facts = from_card(card | {"num_classes": stored.num_classes})
    with new_folder(Path(out)) as partial:
        shown, content = _content(fmt, stored, facts)
        extra = fmt.write(partial, content)
        written = card | _form_fields(fmt, format_name, shown, facts) | extra
        write_card = files.write_sealed_json if fmt.ours else files.write_json
        write_card(partial / distilled.CARD, written)
    return written


def _content(
    fmt: Format, stored: distilled.DistilledSet, facts: Facts
) -> tuple[distilled.DistilledSet, Content]:
    """The set as the format shows it (mosaics kept or decoded), and its arrays."""
    shows = list(stored.stored) == ["images"] and not stored.tiles_labelled
    whole = shows and (fmt.ours or (fmt.mosaics and stored.parameterisation == "mosaic"))
    shown = _class_major(stored if whole else distilled.decoded(stored))
    names = facts.class_names or tuple(str(label) for label in range(stored.num_classes))
    content = Content(
        pixels.from_unit(shown.images, fmt, facts),
        labels.to_stored(shown.labels, fmt, logits=shown.logits),
        lr=stored.lr,
        class_names=names,
    )
    return shown, content


def _class_major(shown: distilled.DistilledSet) -> distilled.DistilledSet:
    order = labels.class_major(shown.labels)
    return dataclasses.replace(shown, stored=shown.images[order], labels=shown.labels[order])


def _form_fields(
    fmt: Format, format_name: str, shown: distilled.DistilledSet, facts: Facts
) -> dict[str, Any]:
    """What the card says about the arrays in the folder."""
    space = fmt.space or "normalised"
    soft = f"soft ({SOFT[fmt.soft]})" if shown.soft and fmt.soft else None
    return {
        "format": format_name,
        "space": space,
        "value_range": value_range(space, facts),
        "layout": f"{fmt.layout}, {labels.order(shown.labels)}",
        "image_shape": list(shown.images.shape[1:]),
        "arrays": list(shown.stored),
        "images": describe(shown),
        "images_per_class": per_class(shown),
        "parameterisation": shown.parameterisation,
        "factor": shown.factor,
        "num_classes": shown.num_classes,
        "label_kind": soft or "hard (class index)",
        "preprocessing": PREPROCESSING[space],
        "test_preprocessing": TEST_PREPROCESSING,
        "format_notes": list(fmt.notes),
    }


def per_class(shown: distilled.DistilledSet) -> int | None:
    """Images of each class, if every class has as many."""
    if shown.soft:
        return None
    counts = np.bincount(shown.labels, minlength=shown.num_classes)
    return int(counts[0]) if np.all(counts == counts[0]) else None


def describe(shown: distilled.DistilledSet) -> str:
    """Whether the arrays can be trained on as they are."""
    if shown.parameterisation == "pixels" or shown.factor == 1:
        return "decoded"
    return f"{shown.parameterisation}, factor {shown.factor}: decode before training"


def value_range(space: str, facts: Facts) -> list[float]:
    """The values that black and white have; over all channels where they differ."""
    if space == "normalised":
        mean, std = pixels.constants(facts, len(facts.mean or ()))
        return [float((-mean / std).min()), float(((1 - mean) / std).max())]
    return [0.0, 255.0 if space == "uint8" else 1.0]
