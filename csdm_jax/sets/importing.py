"""Reads others' distilled sets.

Formats: see `csdm_jax.sets.formats`. What a file does not say (mean and std, classes, whether
images are whitened) comes from the card beside it, from what the caller says, or from a run on the
same data. What is said must agree with what is read.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.data.class_names import are_shuffled
from csdm_jax.runtime.registry import lookup
from csdm_jax.sets import distilled
from csdm_jax.sets.exporting import PREPROCESSING, TEST_PREPROCESSING, describe, per_class
from csdm_jax.sets.formats import FORMATS, Content, Format, base, facts, labels, pixels
from csdm_jax.sets.formats.facts import Facts
from csdm_jax.sets.formats.folders import new_folder
from csdm_jax.storage.files import SEAL
from csdm_jax.storage.npz import read_npz

# What a card says about the files it lies beside, and what was measured with the set before them.
DROPPED = ("accuracies", "seconds", "class_folders", "format_notes", distilled.DIGEST, SEAL)


def read_set(
    path: Path,
    format_name: str,
    said: Facts | None = None,
    *,
    keep_mosaics: bool = False,
    clip: bool = False,
) -> tuple[distilled.DistilledSet, dict[str, Any]]:
    """Reads and checks a distilled set in any format.

    Args:
      path: file, or folder of the set.
      format_name: one of `csdm_jax.sets.formats.FORMATS`.
      said: what is known about the set beside its files.
      keep_mosaics: leave mosaics as they are, instead of decoding them.
      clip: the caller will clip the images (`write_set`), so that they may leave [0, 1] further.

    Returns:
      The set and its card. Images may leave [0, 1], normalised ones above all; the card's
      `outside` says which share of the values does, `value_range` how far.

    Raises:
      ImportError: for a `.pt` format without PyTorch.
      FileNotFoundError: when there is no such file.
      ValueError: for an unknown format, a file that holds something else or code, or arrays that
        break the format's rules or contradict `said`.
    """
    fmt = lookup(FORMATS, format_name, "format")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a file or folder of {format_name!r}")
    card = facts.beside(path, format_name)
    content, known = _read(path, fmt, card, said or Facts())
    names = _class_names(content, known)
    known = dataclasses.replace(known, class_names=names)
    images = pixels.to_unit(content.images, fmt, known, clip=clip)
    targets = labels.from_stored(content.labels, fmt, len(images), known.classes)
    if content.class_names and names != content.class_names:
        targets = labels.renumbered(targets, [names.index(name) for name in content.class_names])
    order = labels.class_major(targets)
    factor = 1 if content.decoded else known.factor or fmt.factor
    kind = "mosaic" if factor > 1 else "pixels"
    lr = _checked_rate(path, content.lr if content.lr is not None else card.get("lr"))
    result = distilled.DistilledSet(
        stored=images[order],
        labels=targets[order],
        parameterisation=kind if content.decoded else card.get("parameterisation", kind),
        factor=factor,
        num_classes=known.classes or targets.shape[-1],
        lr=lr,
    )
    if not (keep_mosaics or fmt.ours):
        result = _decoded(result)
    kept = {name: value for name, value in card.items() if name not in DROPPED}
    notes = [*card.get("notes", []), *_notes(content, order)]
    if content.class_names and names != content.class_names:
        notes.append("classes were matched by name: the files number them otherwise")
    return result, kept | _card_fields(result, known, format_name, notes)


def _read(path: Path, fmt: Format, card: dict[str, Any], said: Facts) -> tuple[Content, Facts]:
    """What the files hold, and what their card and the caller say together."""
    theirs, content = facts.from_card(card), fmt.read(path, card)
    if are_shuffled(theirs.class_names, said.class_names):
        # The same names in another order: the labels are the card's, and will be renumbered.
        names = content.class_names or theirs.class_names
        content = dataclasses.replace(content, class_names=names)
        theirs = dataclasses.replace(theirs, class_names=None)
    return content, theirs.agree(said, f"the card of {path}")


def _checked_rate(path: Path, rate: Any) -> float | None:
    """The learning rate that was distilled with the images, if one was."""
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if rate is None or (number and 0 < rate < math.inf):
        return rate
    raise ValueError(
        f"{path} has the learning rate {rate!r}: it must be a positive finite number; the "
        "distillation diverged, or the file is damaged: remove the rate to import without one"
    )


def _class_names(content: Content, known: Facts) -> tuple[str, ...]:
    """The class names in label order, empty when nobody says them."""
    found, expected = content.class_names, known.class_names
    if found is None or expected is None:
        names = found or expected or ()
        if names and known.num_classes not in (None, len(names)):
            raise ValueError(
                f"the files have {len(names)} classes, {names[:3]}..., expected "
                f"{known.num_classes}: give the set that was distilled from this data"
            )
        return names
    if sorted(found) != sorted(expected):
        raise ValueError(
            f"the files have {len(found)} classes {found[:3]}..., expected {len(expected)} "
            f"{expected[:3]}...: give the set that was distilled from this data"
        )
    return expected


def _notes(content: Content, order: np.ndarray) -> list[str]:
    """What reading lost or changed."""
    notes = list(content.notes)
    if content.images.dtype == np.uint8:
        notes.append("pixels were quantised to uint8")
    if np.any(np.diff(order) < 0):
        notes.append("the images were put in class-major order")
    return notes


def _decoded(result: distilled.DistilledSet) -> distilled.DistilledSet:
    """The set with its mosaics decoded, when their factor fits the images."""
    codec = result.codec
    height, width, channels = result.images.shape[1:]
    codec.check((height, width, channels))
    return distilled.decoded(result)


def _card_fields(
    result: distilled.DistilledSet,
    known: Facts,
    format_name: str,
    notes: list[str],
) -> dict[str, Any]:
    """What a user of the imported set needs, as it is held now."""
    images = result.images
    names = known.class_names or [str(label) for label in range(result.num_classes)]
    return {
        "format": "npz",
        "imported_from": format_name,
        "space": "unit",
        "value_range": [min(0.0, float(images.min())), max(1.0, float(images.max()))],
        "outside": float(np.mean((images < 0) | (images > 1))),
        "mean": None if known.mean is None else list(known.mean),
        "std": None if known.std is None else list(known.std),
        "layout": f"NHWC, {labels.order(result.labels)}",
        "images": describe(result),
        "image_shape": list(images.shape[1:]),
        "class_names": list(names),
        "images_per_class": per_class(result),
        "ipc": per_class(result),
        "parameterisation": result.parameterisation,
        "factor": result.factor,
        "num_classes": result.num_classes,
        "label_kind": distilled.KINDS[result.label_kind],
        "preprocessing": PREPROCESSING["unit"],
        "test_preprocessing": TEST_PREPROCESSING,
        "lr": result.lr,
        "notes": notes,
    }


def write_set(
    out: Path, result: distilled.DistilledSet, card: dict[str, Any], *, clip: bool = False
) -> None:
    """Writes an imported set as our npz with its card.

    Args:
      out: folder to make.
      result: as `read_set` returns it.
      card: likewise.
      clip: bring pixels outside [0, 1] to its ends, and say so in the card.

    Raises:
      OSError: when `out` exists or cannot be written.
      ValueError: for pixels outside [0, 1] without `clip`.
    """
    if card["outside"] and not clip:
        low, high = card["value_range"]
        raise ValueError(
            f"distilled.npz holds pixels in [0, 1], {card['outside']:.1%} of this set's values "
            f"lie outside ({low:.3g}..{high:.3g}), as optimising normalised images leaves them: "
            "clip=True (--clip) cuts them off, which changes what networks learn from the set"
        )
    if card["outside"]:
        note = f"{card['outside']:.1%} of the values lay outside [0, 1] and were clipped"
        card = card | {"value_range": [0.0, 1.0], "outside": 0.0, "notes": [*card["notes"], note]}
        result = dataclasses.replace(result, stored=np.clip(result.images, 0, 1))
    with new_folder(Path(out)) as partial:
        distilled.save(partial, result, card)


def facts_like(folder: Path) -> Facts:
    """Mean, std, classes and image size of a run's data, for a set of the same data."""
    known = facts.from_card(facts.read_card(base.find(folder, "card.json")))
    return Facts(
        mean=known.mean,
        std=known.std,
        class_names=known.class_names,
        num_classes=known.num_classes,
        image_shape=known.image_shape or _image_shape(folder),
    )


def _image_shape(folder: Path) -> tuple[int, ...]:
    return read_npz(folder / distilled.ARRAYS, ("images",))["images"].shape[1:]
