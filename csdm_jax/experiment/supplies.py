"""What methods need, made: see `csdm_jax.distillation.needs`.

Every process of a cluster asks for the same things in the same order.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax

from csdm_jax.distillation import methods, needs
from csdm_jax.training.experts import Experts
from csdm_jax.training.extractors import Pool
from csdm_jax.training.trajectories import Trajectories


class Source(Protocol):
    """What supplies are made of: an experiment."""

    @property
    def config(self) -> Any:
        """The configuration."""
        ...

    @property
    def pool(self) -> Pool:
        """The extractors."""
        ...

    def untrained(self, count: int) -> Any:
        """Weights of networks before any training."""
        ...

    def trajectories(self, every: int) -> Trajectories:
        """Weights along their training."""
        ...

    def experts(self, flat: bool, balanced: bool) -> Experts:
        """Weights along trainings of their own."""
        ...


def supplied(experiment: Source, method: str) -> tuple[Any, ...]:
    """What a method needs, in the order of its `needs`: loaded, or trained where it is missing."""
    needed = methods.kind(method).needed(experiment.config)
    return tuple(_supply(experiment, need) for need in needed)


def _supply(experiment: Source, need: needs.Need) -> Any:
    match need:
        case needs.Pool():
            return experiment.pool
        case needs.Teacher():
            return jax.tree.map(lambda leaf: leaf[0], experiment.pool.trained)
        case needs.Trajectories(every):
            return experiment.trajectories(every)
        case needs.Experts(flat, balanced):
            return experiment.experts(flat, balanced)
        case needs.Untrained(count):
            return experiment.untrained(count)
