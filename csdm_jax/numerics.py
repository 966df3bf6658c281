"""Numerics shared by kernels and distances: safe roots, dtypes, unit features."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_TINY = 1e-30  # squared norms below this count as 0, so that no gradient divides by 0


def modulus(squared: jax.Array) -> jax.Array:
    """Square root with gradient 0 at 0, element by element, where `sqrt` has an infinite one."""
    positive = squared > _TINY
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def compute_dtype(*arrays: jax.Array) -> jnp.dtype:
    """float64 if any array has it, else float32: half precision is for storage only."""
    doubles = any(jnp.asarray(array).dtype == jnp.float64 for array in arrays)
    return jnp.dtype(jnp.float64 if doubles else jnp.float32)


def unit_features(x: jax.Array) -> jax.Array:
    """Scale every feature vector to Euclidean length 1: `x / ||x||_2`.

    It brings networks and data sets to one scale, so that one kernel scale serves all.
    A zero vector stays zero and receives a zero gradient.

    Args:
        x: features, shape [..., d], any float dtype; the norm is taken in float32 or wider.

    Returns:
        Array of the shape and dtype of `x`.

    Source: NCFM (Wang et al. 2025), feature normalisation.

    >>> unit_features(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    wide = x.astype(compute_dtype(x))
    # Dividing by the largest entry first keeps the squares of huge and tiny vectors in range.
    peak = jax.lax.stop_gradient(jnp.max(jnp.abs(wide), axis=-1, keepdims=True))
    wide = wide / jnp.where(peak > 0, peak, 1.0)
    norm = modulus(jnp.sum(jnp.square(wide), axis=-1, keepdims=True))
    return jnp.where(norm > 0, wide / jnp.where(norm > 0, norm, 1.0), 0.0).astype(x.dtype)
