"""A small distilled set in a run's folder, for the tests of the formats."""

from __future__ import annotations

import json

import numpy as np

from csdm_jax.sets import distilled
from csdm_jax.sets.distilled import DistilledSet

MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.2, 0.3]
NAMES = ["red", "blue", "a/b"]  # neither sorted nor all names of folders
CARD = {
    "method": "csdm",
    "ipc": 2,
    "value_range": [0.0, 1.0],
    "mean": MEAN,
    "std": STD,
    "layout": "NHWC, class-major",
    "class_names": NAMES,
}
SOFT = np.array([[0.7, 0.2, 0.1], [1, 0, 0], [0, 1, 0], [0.2, 0.5, 0.3], [0, 0, 1], [0, 0.4, 0.6]])


def example(*, mosaic=False, soft=False, channels=3):
    """Three classes with two images of 8 x 6 pixels each."""
    images = np.random.default_rng(0).uniform(size=(6, 8, 6, channels)).astype(np.float32)
    images[0, 0, 0], images[0, 0, 1] = 0, 1
    labels = SOFT.astype(np.float32) if soft else np.repeat(np.arange(3, dtype=np.int32), 2)
    return DistilledSet(images, labels, "mosaic" if mosaic else "pixels", 2, 3)


def run_folder(path, *, card=CARD, **kind):
    """A folder as a run leaves it."""
    distilled.save(path, example(**kind), card)
    return path


def read_json(path):
    return json.loads(path.read_text())
