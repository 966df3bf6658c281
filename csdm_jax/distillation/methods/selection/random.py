"""Random: real images in the same parameterisation, not optimised. The floor of every table.

Source: none.
Cost: none.
Deviations: none.
"""

from __future__ import annotations

from typing import Any

import jax

from csdm_jax.distillation.methods.base import (
    Context,
    Kind,
    Phase,
    initial_images,
    stored_labels,
)
from csdm_jax.parameterisations import Stored
from csdm_jax.sets.distilled import DistilledSet


class Random:
    """The initialisation of every other method, kept as it is."""

    steps = 0
    phases: tuple[Phase, ...] = ()

    def __init__(self, context: Context, ipc: int):
        self._context = context
        self._ipc = ipc

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> Stored:
        """Randomly drawn real images: those that a matching method of this key starts from."""
        del supplied
        return initial_images(self._context, self._ipc, key)

    def result(self, state: Stored) -> DistilledSet:
        """The images themselves."""
        return self._context.distilled(state, stored_labels(self._context.num_classes, self._ipc))


def create(config: Any, context: Context) -> Random:
    """Random selection under the same storage budget."""
    return Random(context, config.distill.ipc)


KIND = Kind(create)
