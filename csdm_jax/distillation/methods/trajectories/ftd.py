"""FTD: MTT on experts in flat minima, and a moving average of the images.

Where the loss of the experts is flat, a student that has gone astray loses less.

Source: Du et al. 2023, Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation.
Cost: as MTT; the experts' training takes two gradients a step.
Deviations: the step size changes as in MTT; no whitening; images stay in [0, 1]; the average has no
bias to the first images, where the published one begins at them; it is evaluated on fresh networks,
not on those that were trained on the images themselves.
Licence: no licence file
Status: tested; published settings for CIFAR-10 at ten images a class.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.trajectories import published
from csdm_jax.distillation.methods.trajectories.trajectories import (
    AVERAGED,
    TrajectoryMatching,
    kind,
)


def create(config: Any, context: Context) -> TrajectoryMatching:
    """MTT on flat experts, with averaged images."""
    return TrajectoryMatching(config, context, averaged=True)


FTD = dict(published.MTT) | {
    "experts.sharpness": 0.01,
    "experts.surrogate_gap": 0.3,
    "distill.learning_rate": 4.0,  # 100, of normalised pixels
    "trajectory.latest": 19,
    "trajectory.step_size": 0.001,
    "trajectory.average": 0.9995,
}
KIND = kind(create, AVERAGED, FTD, flat=True)
