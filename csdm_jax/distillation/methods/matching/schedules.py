"""The schedules of extractors by name: what `distill.extractor` may be, for every matching method.

A schedule is a `Schedule` and one line in `SCHEDULES`. `tgdd` and `idm` are DM under one of them.
"""

from __future__ import annotations

from typing import Any

import jax

from csdm_jax.distillation import starts
from csdm_jax.distillation.methods.matching.queue import Online
from csdm_jax.distillation.methods.matching.schedule import Schedule
from csdm_jax.distillation.methods.matching.snapshots import Snapshots
from csdm_jax.distillation.needs import Need, Pool
from csdm_jax.networks import Params
from csdm_jax.runtime.registry import lookup
from csdm_jax.training import extractors


class Blended(Schedule):
    """A network of the pool between its initial and its trained weights (NCFM)."""

    def draw(self, supplied: tuple[Any, ...], queue: Any, key: jax.Array) -> tuple[Params, Params]:
        """The blend, and the trained one."""
        del queue
        return extractors.draw(supplied[0], key)


class Trained(Blended):
    """A trained network of the pool."""

    def draw(self, supplied: tuple[Any, ...], queue: Any, key: jax.Array) -> tuple[Params, Params]:
        """The same one twice."""
        _, trained = super().draw(supplied, queue, key)
        return trained, trained


class Fresh(Blended):
    """A network that nobody has trained, another one in every step (DM)."""

    def draw(self, supplied: tuple[Any, ...], queue: Any, key: jax.Array) -> tuple[Params, Params]:
        """That one, and a trained network of the pool."""
        fresh = self._context.network.init(jax.random.fold_in(key, 1))
        return fresh, super().draw(supplied, queue, key)[1]


SCHEDULES: dict[str, type[Schedule]] = {
    "blended": Blended,
    "trained": Trained,
    "fresh": Fresh,
    "trajectory": Snapshots,
    "queue": Online,
}
"""Weights whose features are matched, and trained ones that calibrate."""
FIELDS = {name: field for one in SCHEDULES.values() for name, field in one.fields.items()}


def needs(schedule: str, start: str, *, pooled: bool = False) -> tuple[Need, ...]:
    """What a method is supplied with for a schedule and, behind it, for what reads a pool.

    Args:
      schedule: its name.
      start: that of what chooses the first images.
      pooled: whether the method itself reads a pool.
    """
    own = SCHEDULES[schedule].needs
    pooled |= lookup(starts.STARTS, start, "start").reads_pool
    return (*own, Pool()) if pooled and Pool() not in own else own


def unread(schedule: str) -> set[str]:
    """Fields of other schedules, on which nothing depends under this one."""
    return {*FIELDS} - {*SCHEDULES[schedule].fields}
