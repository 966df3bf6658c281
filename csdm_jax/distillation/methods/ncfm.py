"""NCFM's metric (Wang et al. 2025): the square root at each frequency, an L1 quantity.

As every configuration of its public code has it: frequencies drawn from N(0, I), no adversarial
sampler, amplitude and phase weighted alike.
"""

from __future__ import annotations

from typing import Any

import jax

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import Features, Matching
from csdm_jax.metric import RBF, cfd_loss, sample_frequencies


def create(config: Any, context: Context) -> Matching:
    """Matching of characteristic functions in NCFM's L1 form."""
    dim, num = context.network.feature_dim, config.sdd.num_frequencies

    def distance(real: Features, synthetic: Features, key: jax.Array) -> tuple[jax.Array, dict]:
        frequencies = sample_frequencies(
            key, RBF(1.0), num, dim, method=config.sdd.frequency_method
        )
        loss = cfd_loss(
            real.values,
            synthetic.values,
            context.devices.split_evenly(frequencies),
            real_weights=real.weights,
            real_sizes=real.sizes,
            synthetic_sizes=synthetic.sizes,
        )
        return loss, {}

    return Matching(config, context, distance)
