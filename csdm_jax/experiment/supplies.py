"""What methods need, made: see `csdm_jax.distillation.needs`.

Every process of a cluster asks for the same things in the same order.
"""

from __future__ import annotations

from typing import Any

import jax

from csdm_jax.distillation import methods, needs
from csdm_jax.experiment.trained import Trained


def supplied(trained: Trained, method: str) -> tuple[Any, ...]:
    """What a method needs, in the order of its `needs`: loaded, or trained where it is missing."""
    needed = methods.kind(method).needed(trained.config)
    return tuple(_supply(trained, need) for need in needed)


def _supply(trained: Trained, need: needs.Need) -> Any:
    match need:
        case needs.Pool():
            return trained.pool
        case needs.Teacher():
            return jax.tree.map(lambda leaf: leaf[0], trained.pool.trained)
        case needs.Trajectories(every):
            return trained.trajectories(every)
        case needs.Experts(flat, balanced):
            return trained.experts(flat, balanced)
        case needs.Untrained(count):
            return trained.untrained(count)
