"""RLDD: class-wise statistics under networks that were trained and recalibrated for long tails.

The networks are trained on the long-tailed set so that they neglect no class: two views of an image
agree, and class weights take over late (`rldd.consistency`, `rldd.reweighting`). Then
the running statistics of their batch norms are set anew, from one pass over the training set: the
plain mean over the classes of what each class alone has. Images match, class by class, the mean and
variance of what each normalisation reads, and the mean of the networks, debiased as it is, labels
them.

A class of one image has the variance over its pixels alone, so that all its synthetic images are
drawn to the statistics of that image. Nothing is divided by a variance.

Source: Rethinking Long-tailed Dataset Distillation, AAAI 2026, arXiv 2511.18858.
Cost: a forward pass of the synthetic images, all at once, on every device; before the first step
two passes of the training set through every network (one where it has no batch norm). Networks are
part of the state. Their training costs twice as much with two views.
Deviations: the pool's networks take turns as observers and label together, where the authors have
one of each. Two views agree in their features, without a predictor. The exponent of the class
weights and the weights of all terms, which the paper does not state, are ours. What is matched is
read under the recalibrated network, in a second pass. Labels are made once, at the final images;
students learn them by `evaluate.soft_loss`, where the authors' learn logits by squared error and
hard labels. Without recipe=published the networks are those of the configuration, with these two
remedies in place of its own, and one without batch norm has nothing to recalibrate.
Licence: none public; the paper alone.
Status: tested; no code of its authors to compare with.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context, Kind
from csdm_jax.distillation.methods.recovery import statistics
from csdm_jax.distillation.methods.recovery.recovery import CONSTANT, NEEDS, Recovery, Sight
from csdm_jax.distillation.methods.recovery.statistics import Convolutions, Spread
from csdm_jax.networks import Params, layers
from csdm_jax.runtime.fields import Field, number

FIELDS = {
    # Weight of the statistics beside the cross-entropy.
    "rldd.statistics": Field(0.1, number(0.0, 1e6)),
    # extractors.consistency and extractors.reweighting of its networks; 0 trains them plainly.
    "rldd.consistency": Field(1.0, number(0.0, 100.0)),
    "rldd.reweighting": Field(1.0, number(0.0, 10.0)),
}


def outputs(seen: Convolutions) -> list[Spread]:
    """Of what each normalisation reads: the channels of what each convolution gives."""
    return [statistics.of_channels(given) for _, given in seen]


def fair(classes: list[Spread]) -> list[tuple[jax.Array, jax.Array]]:
    """Running statistics for which every class counts alike, from those of each, `[C, c]`."""
    return [(jnp.float32(own.mean.mean(0)), jnp.float32(own.variance.mean(0))) for own in classes]


class RLDD(Recovery):
    """Statistics of each class, under recalibrated networks."""

    def __init__(self, config: Any, context: Context):
        super().__init__(config, context, config.rldd.statistics, outputs)

    def observe(self, params: Params) -> tuple[Params, list[Spread]]:
        """The network, recalibrated, and the statistics of each class under it."""
        real = statistics.of_classes(self._context, params, outputs)
        if self._context.network.apply_writing is None:
            return params, real
        params = layers.with_running(params, fair(real))
        return params, statistics.of_classes(self._context, params, outputs)

    def gap(self, sight: Sight, memory: Any) -> tuple[jax.Array, Any]:
        """The sum over layers of the mean over classes of the distance."""
        total = jnp.float32(0)
        for own, real in zip(sight.own, sight.real, strict=True):
            grouped = jax.tree.map(lambda x: x.reshape(len(sight.classes), -1, x.shape[-1]), own)
            wanted = jax.tree.map(lambda x: x[sight.classes], real)
            total += jnp.mean(statistics.distance(jax.vmap(statistics.pooled)(grouped), wanted))
        return total, memory


def debiased(config: Any) -> dict[str, float]:
    """How its networks are trained: by its own remedies for long tails and no other."""
    return {
        "extractors.consistency": config.rldd.consistency,
        "extractors.reweighting": config.rldd.reweighting,
        "extractors.logit_adjustment": 0.0,
        "extractors.classifier_epochs": 0,
    }


def create(config: Any, context: Context) -> RLDD:
    """Statistics of each class under networks debiased for long tails, which label the images."""
    return RLDD(config, context)


PUBLISHED = {
    "network.name": "convnet_batch_norm",
    "distill.parameterisation": "pixels",
    "distill.initialisation": "realism",
    "distill.weight_decay": 0.0,
    "distill.plateau_patience": CONSTANT,
    "evaluate.epochs": 1000,
}
KIND = Kind(create, NEEDS, FIELDS, PUBLISHED, own=debiased)
