"""DM: the linear kernel's MMD, `||mean f(R_c) - mean f(S_c)||^2`.

On the same unit features, extractors and budget as the other methods here: the row of the table
that isolates the metric. `dm_weighted` isolates the class schedule: at a scale of 1 the gradient of
CSDM is nearly that of DM with the weights `2 (1 - alpha_c)`, so what is said of amplitude and phase
has to hold against this row, too.

Source: Zhao & Bilen 2023, Dataset Condensation with Distribution Matching.
Cost: two forward passes of the synthetic and one of the real batch, O(n d) for the metric.
Deviations: in our recipe unit features of trained extractors; with recipe=published raw features of
a network that nobody has trained, a fresh one in every step.
Licence: MIT.
Status: tested; published settings. `dm_weighted` has none: it is ours.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching.matching import SCHEDULE, Matching, kind
from csdm_jax.metric import class_alphas
from csdm_jax.metric.ragged import Ragged


def linear_mmd(real: Ragged, synthetic: Ragged, key: jax.Array) -> tuple[jax.Array, dict]:
    """Sum over classes of the squared distance between class means."""
    del key
    per_class = jnp.sum((real.means() - synthetic.means()) ** 2, axis=-1)
    return jnp.sum(per_class), {"distance": per_class}


def means(real: Ragged, key: jax.Array) -> Ragged:
    """What `linear_mmd` needs of a sample: one row a class, its mean, with the class's weight."""
    del key
    return Ragged(real.means(), (1,) * real.num_classes, real.classes, real.totals())


def create(config: Any, context: Context) -> Matching:
    """Distribution matching with the linear kernel."""
    return Matching(config, context, linear_mmd, means)


def create_weighted(config: Any, context: Context) -> Matching:
    """The control for the class schedule: DM with the class weights `2 (1 - alpha_c)` of CSDM."""
    alphas = class_alphas(jnp.array(context.counts), head=config.alpha.head, tail=config.alpha.tail)

    def distance(real: Ragged, synthetic: Ragged, key: jax.Array) -> tuple[jax.Array, dict]:
        _, parts = linear_mmd(real, synthetic, key)
        return jnp.sum(2 * (1 - alphas[real.classes]) * parts["distance"]), parts

    return Matching(config, context, distance, means)


PUBLISHED = {
    "network.width": 128,
    "distill.parameterisation": "pixels",
    "distill.steps": 20_000,
    "distill.batch": 256,
    "distill.optimiser": "sgd",
    "distill.learning_rate": 0.04,  # 1 for pixels divided by deviations of 0.2, squared
    "distill.momentum": 0.5,
    "distill.weight_decay": 0.0,
    "distill.augmentation": "color_crop_cutout_flip_scale_rotate",
    "distill.augmentation_mode": "one",
    "distill.extractor": "fresh",
    "distill.features": "raw",
    "distill.loss_scale": 1.0,
    "distill.calibration": 0.0,
    "evaluate.epochs": 1000,
    "evaluate.batch": 256,
    "evaluate.optimiser": "sgd",
    "evaluate.learning_rate": 0.01,
    "evaluate.momentum": 0.9,
    "evaluate.weight_decay": 5e-4,
    "evaluate.decay_at": (0.5,),
    "evaluate.decay": 0.1,
    "evaluate.augmentation": "color_crop_cutout_flip_scale_rotate",
    "evaluate.augmentation_mode": "one",
    "evaluate.cutmix": 0.0,
}
KIND = kind(create, published=PUBLISHED)
WEIGHTED = kind(create_weighted, SCHEDULE)
