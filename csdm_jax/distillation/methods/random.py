"""Random: real images in the same parameterisation, not optimised. The floor of every table."""

from __future__ import annotations

from typing import Any

import jax

from csdm_jax.distillation.methods.base import Context, initial_images


class Random:
    """The initialisation of every other method, kept as it is."""

    steps = 0
    constants = ()

    def __init__(self, context: Context, ipc: int):
        self._context = context
        self._ipc = ipc

    def init(self, key: jax.Array) -> jax.Array:
        """Randomly drawn real images: those that a matching method of this key starts from."""
        init_key, _ = jax.random.split(key)
        return initial_images(self._context, self._ipc, init_key)

    def step(self, state: jax.Array, constants: Any, index: jax.Array) -> tuple[jax.Array, dict]:
        """Changes nothing."""
        del constants, index
        return state, {}

    def feed(self, state: jax.Array) -> None:
        """Nothing is read."""

    def stored(self, state: jax.Array) -> jax.Array:
        """The images themselves."""
        return state


def create(config: Any, context: Context) -> Random:
    """Random selection under the same storage budget."""
    return Random(context, config.distill.ipc)
