"""ATT: MTT, compared after the number of student steps that comes nearest to the expert.

After each of N steps the L1 distance to the expert's weights is recorded; the student lands at the
last of its minima, and what it does behind that has no part in the gradient.

Source: Liu et al. 2024, Dataset Distillation by Automatic Training Trajectories.
Cost: as MTT; steps behind the landing are made back, too, with an adjoint of zero.
Deviations: the step size changes as in MTT; no whitening; images stay in [0, 1]; the average of the
images as in FTD; the published learning rate, 10,000 for whitened images, is MTT's without
whitening.
Licence: no licence file
Status: tested; published settings for CIFAR-10 at ten images a class, but for that rate.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.trajectories import published
from csdm_jax.distillation.methods.trajectories.trajectories import (
    AVERAGED,
    TrajectoryMatching,
    kind,
)


def last_minimum(lengths: jax.Array) -> jax.Array:
    """The number of steps after which the distance is smallest; of equals the last.

    Args:
      lengths: `[N]`, L1 distances after 1 to N steps.

    Returns:
      int32 scalar, 1 to N.
    """
    return (len(lengths) - jnp.argmin(lengths[::-1])).astype(jnp.int32)


def create(config: Any, context: Context) -> TrajectoryMatching:
    """MTT with as many student steps as come nearest to the expert."""
    return TrajectoryMatching(config, context, landing=last_minimum, averaged=True)


ATT = dict(published.MTT) | {
    "distill.steps": 60_000,
    "trajectory.latest": 19,
    "trajectory.step_size_rate": 1e-4,
    "trajectory.average": 0.9999,
}
KIND = kind(create, AVERAGED, ATT)
