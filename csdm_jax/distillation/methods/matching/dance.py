"""DANCE: DM on blends of initial and trained networks, with the calibration of the trained one.

Both are what the recipe of this family has for every distance. In our recipe DANCE is therefore the
method `dm`, number for number; under recipe=published it has its authors' settings, raw features
among them.

Source: Zhang et al. 2024, DANCE: Dual-View Distribution Alignment for Dataset Condensation.
Cost: two forward passes of the synthetic and one of the real batch, O(n d) for the metric.
Deviations: unit features in our recipe; one joint step for all classes. The learning rate that
grows with the images of a class is the one of ten; batch and weights of both terms are NCFM's.
Licence: no licence file.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import dm
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.distillation.methods.matching.published import MIXED


def create(config: Any, context: Context) -> Matching:
    """DM on blended extractors, calibrated by trained ones; in our recipe the same as `dm`."""
    return Matching(config, context, dm.linear_mmd, dm.means)


PUBLISHED = MIXED | {
    "distill.steps": 10_000,
    "distill.learning_rate": 0.1,
    "distill.loss_scale": 1.0,
    "evaluate.epochs": 1000,
}
KIND = kind(create, published=PUBLISHED)
