"""TGDD: DM whose extractors are snapshots along the training of a network.

A step draws a training and an epoch of it; the features of that snapshot are matched, and one of
the same or the next few epochs calibrates.

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

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import dm
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.distillation.methods.matching.published import MIXED
from csdm_jax.distillation.needs import Trajectories
from csdm_jax.networks import Params
from csdm_jax.runtime.fields import Field, integer

FIELDS = {
    # Snapshots from which the calibrating one is drawn, the first of them the matched one.
    "tgdd.window": Field(7, integer(1, 100_000)),
}


class TGDD(Matching):
    """Class means, on snapshots."""

    def __init__(self, config: Any, context: Context):
        super().__init__(config, context, dm.linear_mmd, dm.means)
        self._window = config.tgdd.window

    def networks(
        self, supplied: tuple[Any, ...], memory: Any, key: jax.Array
    ) -> tuple[Params, Params]:
        """A snapshot, and one of the window that begins with it."""
        del memory
        (paths,) = supplied
        which_key, first_key, later_key = jax.random.split(key, 3)
        which = jax.random.randint(which_key, (), 0, paths.size)
        first = jax.random.randint(first_key, (), 0, paths.length)
        last = jnp.minimum(first + self._window, paths.length)
        later = jax.random.randint(later_key, (), first, last)
        return paths.at(which, first), paths.at(which, later)


def create(config: Any, context: Context) -> TGDD:
    """DM on snapshots of trainings, calibrated by later snapshots of the same training."""
    return TGDD(config, context)


PUBLISHED = MIXED | {
    "distill.steps": 10_000,
    "distill.learning_rate": 0.1,
    "distill.loss_scale": 1.0,
    "distill.calibration": 2.5,
    "tgdd.window": 7,
    "evaluate.epochs": 1000,
}
KIND = kind(create, FIELDS, PUBLISHED, needs=(Trajectories(every=1),))
