"""TGDD: DM whose extractors are snapshots along the training of a network.

It is `dm` under the schedule of extractors "trajectory": a step draws a training and an epoch of
it; the features of that snapshot are matched, and one of the same or the next few epochs
calibrates.

Source: TGDD 2026, Trajectory Guided Dataset Distillation with Balanced Distribution.
Cost: the trainings of the extractors once more, with a snapshot of every epoch in memory; two
forward passes of the synthetic and one of the real batch, O(n d) for the metric.
Deviations: unit features and the weight of the calibration in our recipe; one joint step for all
classes. The learning rate that grows with the images of a class is the one of ten, and the batch,
which is not known for small images, NCFM's. `distill.extractor` changes nothing.
Licence: no licence file.
Status: tested; published settings but for the batch, which is not known for small images.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import dm
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.distillation.methods.matching.published import MIXED

SCHEDULE = "trajectory"


def create(config: Any, context: Context) -> Matching:
    """DM on snapshots of trainings, calibrated by later snapshots of the same training."""
    return Matching(config, context, dm.linear_mmd, dm.means, schedule=SCHEDULE)


PUBLISHED = MIXED | {
    "distill.steps": 10_000,
    "distill.learning_rate": 0.1,
    "distill.loss_scale": 1.0,
    "distill.calibration": 2.5,
    "tgdd.window": 7,
    "evaluate.epochs": 1000,
}
KIND = kind(create, published=PUBLISHED, schedule=SCHEDULE)
