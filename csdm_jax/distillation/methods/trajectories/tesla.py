"""TESLA: MTT, the gradient of each student step taken as if the weights before it were fixed.

    dL/dx_i = d/dx_i < 2 [eta (theta* - theta_0) + eta^2 G], g_i > / ||theta_0 - theta*||^2

with G the sum of the student's gradients g_i: the adjoint passes back as it is, where MTT's passes
through every step. For one step both are the same.

Source: Cui et al. 2023, Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory.
Cost: as MTT, with half of the second derivatives; it saves time here, not memory, which MTT's own
does not depend on the number of steps either but for the students' weights.
Deviations: the step size changes as in MTT; no whitening; images stay in [0, 1]; hard labels; the
factor 2 of the formula, which the published code loses, so that its learning rate is twice ours.
Licence: MIT
Status: tested; its gradient with MTT's settings and twice its steps; its own were not found.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.trajectories import published
from csdm_jax.distillation.methods.trajectories.trajectories import (
    TrajectoryMatching,
    kind,
)


def create(config: Any, context: Context) -> TrajectoryMatching:
    """MTT with the gradient through single steps alone."""
    return TrajectoryMatching(config, context, exact=False)


KIND = kind(create, published=dict(published.MTT) | {"distill.steps": 10_000})
