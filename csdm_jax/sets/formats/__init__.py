"""Files in which distilled sets travel: ours, those of other code bases, and common ones.

A format is one small file with a `FORMAT`, and one line in `FORMATS`. `csdm_jax.export` writes
them, `csdm_jax.import_set` reads them; both do what is the same for all: pixel space, layout,
labels, order and mosaics. Nothing that is read may run code: no pickle is opened without an
allow-list.
"""

from __future__ import annotations

from csdm_jax.sets.formats import dcbench, ddranking, mtt, ncfm, npz, png, safetensors, tfds
from csdm_jax.sets.formats.base import Content, Format

FORMATS: dict[str, Format] = {
    "npz": npz.FORMAT,
    "safetensors": safetensors.FORMAT,
    "png": png.FORMAT,
    "tfds": tfds.FORMAT,
    "ddranking": ddranking.FORMAT,
    "ncfm": ncfm.FORMAT,
    "dcbench": dcbench.FORMAT,
    "mtt": mtt.FORMAT,
}

__all__ = ["FORMATS", "Content", "Format"]
