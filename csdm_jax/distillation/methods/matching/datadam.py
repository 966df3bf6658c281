"""DataDAM: class means of the last features, and of attention maps of the layers before.

The attention of a layer is `sum_channels |F|^p` at each of its pixels, as a unit vector. The loss
is the squared distance between the class means of these vectors, summed over all layers but the
last, and `datadam.last` times that between the means of the last layer's features.

Source: Sajedi et al. 2023, DataDAM: Efficient Dataset Distillation with Attention Matching.
Cost: two forward passes of the synthetic and one of the real batch, O(n (d + a)) for the metric, of
a pixels of attention.
Deviations: unit features of trained extractors, a weight for these and the calibration in our
recipe; with recipe=published raw features of a network that nobody has trained, a fresh one in
every step, and the power 4 of the paper, where its public code has 1. One joint step for all
classes, whatever their sizes. It needs a network that tells its maps: the ConvNet.
Licence: no licence file.
Status: tested; published settings of its paper.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import dm, layered
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.metric import unit_features
from csdm_jax.runtime.fields import Field, integer, number

FIELDS = {
    "datadam.power": Field(4, integer(1, 16)),
    # The weight 0.01 of raw features, times their mean squared norm, about d / 4 for d = 2048.
    "datadam.last": Field(5.0, number(0.0, 1e6)),
}


def attention(maps: jax.Array, power: int) -> jax.Array:
    """Attention of a layer's maps `[n, H, W, c]`: unit vectors `[n, H W]`."""
    return unit_features(jnp.sum(jnp.abs(maps) ** power, axis=-1).reshape(len(maps), -1))


def create(config: Any, context: Context) -> Matching:
    """Class means of attention maps of all layers, and of the last features."""
    own, unit = config.datadam, config.distill.features == "unit"

    def tell(features: jax.Array, maps: Any) -> list[jax.Array]:
        last = unit_features(features) if unit else features
        return [*(attention(each, own.power) for each in maps[:-1]), own.last**0.5 * last]

    network = layered.told(context.network, tell)
    # The network's features are what is compared: nothing more is done to them.
    raw = config.copy_and_resolve_references()
    raw.distill.features = "raw"
    return Matching(raw, dataclasses.replace(context, network=network), dm.linear_mmd, dm.means)


PUBLISHED = dm.PUBLISHED | {
    "distill.steps": 8000,
    "distill.batch": 64,
    "distill.loss_scale": 100.0,
    "datadam.power": 4,
    "datadam.last": 0.01,
    "evaluate.epochs": 1800,
    "evaluate.batch": 64,
}
KIND = kind(create, FIELDS, PUBLISHED, layered.check("datadam"))
