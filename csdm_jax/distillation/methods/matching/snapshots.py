"""Snapshots: the networks of a step are one network at two times of its training (TGDD).

A step draws a training of the extractors and an epoch of it; the features of that snapshot are
matched, and one of the same or the next few epochs calibrates, `tgdd.window` of them.

Source: TGDD 2026, Trajectory Guided Dataset Distillation with Balanced Distribution.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching.schedule import Schedule
from csdm_jax.distillation.needs import Trajectories
from csdm_jax.networks import Params
from csdm_jax.runtime.fields import Field, integer

FIELDS = {
    # Snapshots from which the calibrating one is drawn, the first of them the matched one.
    "tgdd.window": Field(7, integer(1, 100_000)),
}


class Snapshots(Schedule):
    """Two snapshots of one training, the second no earlier than the first."""

    needs = (Trajectories(every=1),)
    fields = FIELDS

    def __init__(self, config: Any, context: Context):
        super().__init__(config, context)
        self._window = config.tgdd.window

    def draw(self, supplied: tuple[Any, ...], queue: Any, key: jax.Array) -> tuple[Params, Params]:
        """A snapshot, and one of the window that begins with it."""
        del queue
        paths = supplied[0]
        which_key, first_key, later_key = jax.random.split(key, 3)
        which = jax.random.randint(which_key, (), 0, paths.size)
        first = jax.random.randint(first_key, (), 0, paths.length)
        last = jnp.minimum(first + self._window, paths.length)
        later = jax.random.randint(later_key, (), first, last)
        return paths.at(which, first), paths.at(which, later)
