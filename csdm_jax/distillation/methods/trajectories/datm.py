"""DATM: MTT on a window of the experts' training that grows later, with learned soft labels.

Early epochs teach easy patterns, late ones hard ones, which few images cannot hold: the last epoch
at which a student may begin grows from `trajectory.latest_at_first` to `trajectory.latest` over the
first `trajectory.growing` steps. Images begin as real ones that the experts are right about, labels
as the mean logits of the experts that are right. A step of a loss above `trajectory.skip_above`
moves nothing.

Source: Guo et al. 2024, Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory
Matching.
Cost: as MTT; the training set once through the experts that judge the first images.
Deviations: the step size changes as in MTT; no whitening; images stay in [0, 1]; at most five
experts judge; a class in which they are right about too few images gives others, whose labels are
the experts' with two logits exchanged, one that is too small the same images again.
Licence: no licence file
Status: tested; published settings for CIFAR-10 at ten images a class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.distillation.features import outputs
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.trajectories import published, trajectories
from csdm_jax.distillation.methods.trajectories.trajectories import (
    TrajectoryMatching,
    between,
    experts_of,
    kind,
)
from csdm_jax.distillation.starts.base import of_every_class, real_images
from csdm_jax.parameterisations import Stored
from csdm_jax.runtime.fields import RATE, Field, integer, number

JUDGES = 5
LABELS = {
    # Learning rate of the labels' logits.
    "trajectory.label_rate": Field(2.0, RATE),
}
FIELDS = LABELS | {
    # Last epoch at which a student may begin in the first step, and steps until it is the last.
    "trajectory.latest_at_first": Field(5, integer(0, 100_000)),
    "trajectory.growing": Field(1000, integer(1, 10_000_000)),
    # Loss above which a step moves nothing.
    "trajectory.skip_above": Field(1.0, number(0.0, 1e9, open_ends=True)),
}


class SoftTrajectories(TrajectoryMatching):
    """Learned labels, and first images that the experts are right about.

    Args:
      config, context, **options: as of `TrajectoryMatching`.
    """

    def __init__(self, config: Any, context: Context, **options: Any):
        super().__init__(config, context, soft=True, **options)

    def _judges(self, supplied: tuple[Any, ...]) -> list[Any]:
        """Weights of trained experts."""
        experts = experts_of(supplied)
        last = len(experts.rows[0]) - 1
        return [
            self._unravel(jnp.asarray(experts.at(k, last)))
            for k in range(min(JUDGES, experts.size))
        ]

    def first_images(self, key: jax.Array, supplied: tuple[Any, ...]) -> Stored:
        """Real images that most experts are right about, drawn at random."""
        context, tiles = self._context, self._context.parameterisation.tiles
        labels = context.host.labels
        said = [
            outputs(context, params, context.host.take, len(labels))[0]
            for params in self._judges(supplied)
        ]
        right = np.sum([one.argmax(1) == labels for one in said], axis=0)
        chosen = of_every_class(
            context.counts, self._config.ipc * tiles, _random_but_best(key, right)
        )
        return context.encode(real_images(context, chosen))

    def first_labels(self, stored: Stored, supplied: tuple[Any, ...]) -> jax.Array:
        """The mean logits of the experts that are right about an image, and that over its tiles.

        Where none is right, as is common in a long tail, the mean of all with the logit of the
        image's class and the largest in each other's places: as sure of the class as the experts
        are of the one that they take it for.
        """
        decoded = np.asarray(self._context.parameterisation.decode(stored))
        own = np.repeat(self._hard, len(decoded) // len(self._hard))
        said = np.stack(
            [
                outputs(self._context, params, lambda rows: decoded[rows], len(decoded))[0]
                for params in self._judges(supplied)
            ]
        )
        mean = _mean_of_right(said, own)
        return jnp.asarray(mean.reshape(len(self._hard), -1, mean.shape[1]).mean(1))


def _mean_of_right(said: np.ndarray, own: np.ndarray) -> np.ndarray:
    """float32 `[n, K]`: of logits `[J, n, K]` the mean of those whose largest is `own`.

    Where there is none, the mean of all, its largest entry and that of `own` exchanged.
    """
    right = (said.argmax(2) == own)[:, :, None]
    mean = np.sum(said * right, axis=0) / np.maximum(right.sum(0), 1)
    exchanged, rows = said.mean(0), np.arange(len(own))
    largest = exchanged.argmax(1)
    ends = exchanged[rows, largest], exchanged[rows, own]
    exchanged[rows, own], exchanged[rows, largest] = ends
    return np.where(right.any(0), mean, exchanged).astype(np.float32)


def _random_but_best(key: jax.Array, right: np.ndarray) -> Callable[[int, slice, int], np.ndarray]:
    """The images of a class in random order, those that more experts are right about first."""

    def choose(label: int, own: slice, count: int) -> np.ndarray:
        drawn = np.asarray(
            jax.random.uniform(jax.random.fold_in(key, label), (own.stop - own.start,))
        )
        return np.lexsort((drawn, -right[own]))[:count]

    return choose


class DATM(SoftTrajectories):
    """Soft labels, a window that grows, and steps that do not count."""

    def _window(self, key: jax.Array, number: int) -> tuple[int, int]:
        own = self._own
        grown = min(1.0, number / own.growing) * (own.latest - own.latest_at_first)
        first = between(key, own.earliest, own.latest_at_first + int(grown))
        return first, first + own.epochs

    def counts(self, loss: jax.Array) -> jax.Array:
        """Whether the student has come near enough."""
        return loss <= self._own.skip_above


def check(config: Any) -> None:
    """Raises a ValueError where a student would have no expert to follow."""
    trajectories.check(config)
    own = config.trajectory
    if not own.earliest <= own.latest_at_first <= own.latest:
        raise ValueError(
            f"trajectory.latest_at_first = {own.latest_at_first} must lie between "
            f"trajectory.earliest = {own.earliest} and trajectory.latest = {own.latest}: change "
            "one of the three"
        )


def create(config: Any, context: Context) -> DATM:
    """MTT on a window of difficulty, with soft labels."""
    return DATM(config, context)


SOFT = dict(published.MTT) | {
    "experts.epochs": 100,
    "experts.sharpness": 0.01,
    "experts.surrogate_gap": 0.3,
    "distill.steps": 10_000,
    "distill.learning_rate": 4.0,  # 100, of normalised pixels
    "trajectory.steps": 80,
    "trajectory.latest": 19,
    "trajectory.label_rate": 2.0,
    "evaluate.batch": 128,
}
PUBLISHED_DATM = SOFT | {
    "trajectory.batch": 100,
    "trajectory.latest_at_first": 9,
    "trajectory.growing": 1000,
    "trajectory.skip_above": 1.0,
}
KIND = kind(create, FIELDS, PUBLISHED_DATM, flat=True, selects=True, check=check)
