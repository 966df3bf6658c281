"""MTT: a student's training on synthetic images ends where some epochs of an expert's end.

Labels are hard; the student's step size is learned and part of the distilled set.

Source: Cazenavette et al. 2022, Dataset Distillation by Matching Training Trajectories.
Cost: N forward and backward passes of the synthetic batch there, and N with second derivatives
back, whatever the number of real images; N + 1 networks' weights in the state and its checkpoints;
experts trained beforehand.
Deviations: no whitening; images stay in [0, 1]; exact gradients in the memory of one step of the
student, where the published code keeps the graph of all; a round changes the step size by
a hundredth of it at most.
Licence: MIT
Status: tested; published settings without whitening, for CIFAR-10 at ten images a class.
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
    """Matching of trajectories, with a learned step size."""
    return TrajectoryMatching(config, context)


KIND = kind(create, published=published.MTT)
