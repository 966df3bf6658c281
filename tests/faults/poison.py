"""NaN at a chosen place of a chosen step, inside the compiled step of a matching method."""

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods import matching

SITES = ("loss", "gradient", "pixels", "real batch", "extractor weights")
"""Where a NaN may enter, and the term that the run's error must name."""


class Poisoned:
    """A method whose step `at` meets a NaN.

    Args:
      method: a `Matching`.
      site: one of `SITES`.
      at: the step; compared with the index that the step is called with.
    """

    def __init__(self, method: matching.Matching, site: str, at: int):
        assert site in SITES
        self._method, self._site, self._at = method, site, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def step(self, state: Any, constants: Any, index: jax.Array) -> Any:
        """The method's step, with the NaN."""
        nan = jnp.where(index == self._at, jnp.nan, 0.0)
        site, method = self._site, self._method
        data, pool = constants
        normalise = method._context.normaliser
        if site == "pixels":
            state = state._replace(images=state.images + nan)
        if site == "extractor weights":
            pool = jax.tree.map(lambda leaf: leaf + nan, pool)
        distance = method._distance
        if site == "real batch":

            def spoilt(images: jax.Array) -> jax.Array:
                real = images.dtype == jnp.uint8  # synthetic images are floats
                return normalise(images) + (nan if real else 0.0)

            object.__setattr__(method._context, "normaliser", spoilt)
        if site in ("loss", "gradient"):
            spoil = _in_gradient if site == "gradient" else jnp.add
            method._distance = lambda *a: _first(distance(*a), nan, spoil)
        try:
            return method.step(state, (data, pool), index)
        finally:
            method._distance = distance
            object.__setattr__(method._context, "normaliser", normalise)


def _first(pair: tuple, nan: jax.Array, spoil: Any = jnp.add) -> tuple:
    return (spoil(pair[0].astype(jnp.float32), nan), *pair[1:])


@jax.custom_vjp
def _in_gradient(x: jax.Array, nan: jax.Array) -> jax.Array:
    """`x`, whose gradient has the NaN."""
    del nan
    return x


_in_gradient.defvjp(lambda x, nan: (x, nan), lambda nan, g: (g + nan, None))
