"""NCFM's metric: the square root at each frequency, an L1 quantity.

As every configuration of its public code has it: frequencies drawn from N(0, I), no adversarial
sampler, amplitude and phase weighted alike.

Source: Wang et al. 2025, Dataset Distillation with Neural Characteristic Function.
Cost: two forward passes of the synthetic and one of the real batch, O(n d T) for the metric.
Deviations: one joint step for all classes; no adversarial frequency sampler.
Licence: no licence file.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from typing import Any

import jax

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import spectral
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.distillation.methods.matching.published import NCFM
from csdm_jax.metric import RBF, Sketch, cfd_loss, sketch
from csdm_jax.metric.ragged import Ragged

FIELDS = spectral.DRAWN | {"ncfm.scale": spectral.SCALE}


def create(config: Any, context: Context) -> Matching:
    """Characteristic functions in NCFM's L1 form; frequencies are N(0, `ncfm.scale`² I)."""
    kernel = RBF(config.ncfm.scale)

    def drawn(key: jax.Array) -> jax.Array:
        return spectral.frequencies(config, context, kernel, key)

    def distance(
        real: Ragged | Sketch, synthetic: Ragged, key: jax.Array
    ) -> tuple[jax.Array, dict]:
        return cfd_loss(real, synthetic, drawn(key)), {}

    def summarise(real: Ragged, key: jax.Array) -> Sketch:
        return sketch(real, drawn(key))

    return Matching(config, context, distance, summarise)


def settle(config: Any, context: Context, supplied: tuple[Any, ...]) -> dict[str, Any]:
    """The median heuristic for `ncfm.scale`, where it is open."""
    return {} if config.ncfm.scale else {"ncfm.scale": spectral.median_scale(context, supplied)}


KIND = kind(create, FIELDS, NCFM, settle=settle)
