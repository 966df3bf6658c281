"""DD-Ranking (0.2.0): `images.pt`, `labels.pt` and perhaps `lr.pt`.

Images are float32 NCHW, class-major and already normalised; labels int64, or float logits.
"""

from __future__ import annotations

from csdm_jax.sets.formats import tensors
from csdm_jax.sets.formats.base import Format

NAMES = ("images.pt", "labels.pt", "lr.pt")

FORMAT = Format(
    layout="NCHW",
    space="normalised",
    soft="logits",
    write=tensors.writer(*NAMES),
    read=tensors.reader(*NAMES),
    files=NAMES[:2],
    notes=("DD-Ranking must be given the mean and std of this card",),
)
