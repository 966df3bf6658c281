"""DM (Zhao & Bilen 2023): the linear kernel's MMD, `||mean f(R_c) - mean f(S_c)||^2`.

On the same unit features, extractors and budget as the other methods here: the row of the table
that isolates the metric. DM as published also redraws random networks and uses raw features.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import Features, Matching


def linear_mmd(real: Features, synthetic: Features, key: jax.Array) -> tuple[jax.Array, dict]:
    """Sum over classes of the squared distance between class means."""
    del key
    difference = real.class_means() - synthetic.class_means()
    per_class = jnp.sum(difference**2, axis=-1)
    return jnp.sum(per_class), {"distance": per_class}


def create(config: Any, context: Context) -> Matching:
    """Distribution matching with the linear kernel."""
    return Matching(config, context, linear_mmd)
