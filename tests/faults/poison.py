"""NaN at a chosen place of a chosen step, inside the compiled step of a matching method."""

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.loop import Loop
from csdm_jax.distillation.methods.base import Inputs, Phase

SITES = ("loss", "gradient", "pixels", "real batch", "extractor weights")
"""Where a NaN may enter, and the term that the run's error must name."""


def poisoned(loop: Loop, site: str, at: int | jax.Array | None) -> Loop:
    """The loop of a method whose step `at` (every step, if None) meets a NaN.

    Args:
      loop: of a `Matching`.
      site: one of `SITES`.
      at: compared with the number of the step; or with the data of its key, which a rollback
        changes.
    """
    assert site in SITES
    method = copy.copy(loop.method)
    phase = method.phases[0]

    def step(state: Any, inputs: Inputs) -> Any:
        if isinstance(at, jax.Array):
            bad = jnp.all(jax.random.key_data(inputs.key) == at)
        else:
            bad = jnp.bool_(True) if at is None else inputs.number == at
        nan = jnp.where(bad, jnp.nan, 0.0)
        return _spoilt(method, site, nan, state, inputs)

    method.phases = (Phase(step, draw=phase.draw),)
    return Loop(method, loop.data, loop.supplied, loop.devices)


def _spoilt(method: Any, site: str, nan: jax.Array, state: Any, inputs: Inputs) -> Any:
    own = copy.copy(method)
    if site == "pixels":
        state = state._replace(stored=jax.tree.map(lambda leaf: leaf + nan, state.stored))
    if site == "extractor weights":
        supplied = jax.tree.map(lambda leaf: leaf + nan, inputs.supplied)
        inputs = inputs._replace(supplied=supplied)
    if site == "real batch":
        normalise = method._context.normaliser

        def spoilt(images: jax.Array) -> jax.Array:
            real = images.dtype == jnp.uint8  # synthetic images are floats
            return normalise(images) + (nan if real else 0.0)

        own._context = dataclasses.replace(method._context, normaliser=spoilt)
    if site in ("loss", "gradient"):
        spoil = _in_gradient if site == "gradient" else jnp.add
        own._distance = lambda *a: _first(method._distance(*a), nan, spoil)
    return own.step(state, inputs)


def _first(pair: tuple, nan: jax.Array, spoil: Any = jnp.add) -> tuple:
    return (spoil(pair[0].astype(jnp.float32), nan), *pair[1:])


@jax.custom_vjp
def _in_gradient(x: jax.Array, nan: jax.Array) -> jax.Array:
    """`x`, whose gradient has the NaN."""
    del nan
    return x


_in_gradient.defvjp(lambda x, nan: (x, nan), lambda nan, g: (g + nan, None))
