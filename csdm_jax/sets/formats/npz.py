"""Our own file, as a run writes it: images as stored, mosaics included."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.sets import distilled
from csdm_jax.sets.distilled import ARRAYS, DIGEST
from csdm_jax.sets.formats.base import Content, Format, find
from csdm_jax.sets.formats.labels import softmax
from csdm_jax.storage import files
from csdm_jax.storage.npz import read_npz


def write(folder: Path, content: Content) -> dict[str, Any]:
    """Writes `distilled.npz`; the card gets its SHA-256, as a run's card does."""
    integers = np.issubdtype(content.labels.dtype, np.integer)
    labels = content.labels.astype(np.int32) if integers else content.labels
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=content.images, labels=labels)
    files.write_bytes(folder / ARRAYS, buffer.getvalue())
    return {DIGEST: files.sha256(folder / ARRAYS)}


def read(path: Path, card: dict[str, Any]) -> Content:
    """Reads the arrays `images` and `labels`; Python objects in the file are refused.

    A set that stores no images (its card names its arrays), or mosaics with a label for every tile,
    is decoded.
    """
    if card.get("arrays", ["images"]) != ["images"]:
        return _decoded(path)
    arrays = read_npz(find(path, ARRAYS), ("images", "labels"))
    if card.get("parameterisation") == "mosaic" and len(arrays["images"]) < len(arrays["labels"]):
        return _decoded(path)
    logits = card.get("label_kind") == distilled.KINDS["logits"]
    return Content(arrays["images"], softmax(arrays["labels"]) if logits else arrays["labels"])


def _decoded(path: Path) -> Content:
    whole = distilled.decoded(distilled.load(path if path.is_dir() else path.parent)[0])
    labels = whole.probabilities if whole.soft else whole.labels
    return Content(whole.images, labels, lr=whole.lr, decoded=True)


FORMAT = Format(
    layout="NHWC",
    space="unit",
    soft="probabilities",
    write=write,
    read=read,
    files=(ARRAYS,),
    mosaics=True,
    ours=True,
)
