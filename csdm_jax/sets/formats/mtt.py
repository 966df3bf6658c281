"""MTT, DATM and LAD: `images_best.pt`, `labels_best.pt` and perhaps `lr_best.pt`.

Images are NCHW, normalised or, when distilled with `--zca`, whitened: the files do not say which.
Labels are int64, or float logits (DATM, LAD).
"""

from __future__ import annotations

from csdm_jax.sets.formats import tensors
from csdm_jax.sets.formats.base import Format

NAMES = ("images_best.pt", "labels_best.pt", "lr_best.pt")

FORMAT = Format(
    layout="NCHW",
    space=None,
    soft="logits",
    write=tensors.writer(*NAMES),
    read=tensors.reader(*NAMES, pattern="images_*.pt"),
    files=NAMES[:2],
    notes=("normalised, not ZCA-whitened: evaluate without --zca",),
)
