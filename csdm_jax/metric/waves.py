"""Phases of rows at frequencies: the matrix product that all spectra begin with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike


def at_scales(phases: jax.Array, scales: tuple[float, ...] | None) -> jax.Array:
    """Phases [n, T] times each of K scales, [n, K T]."""
    if scales is None:
        return phases
    factors = jnp.asarray(scales, phases.dtype)
    return (factors[None, :, None] * phases[:, None, :]).reshape(phases.shape[0], -1)


def phases_of(x: jax.Array, frequencies: jax.Array, matmul_dtype: DTypeLike | None) -> jax.Array:
    """t.x for every row and frequency, shape [n, T]."""
    factor = jnp.dtype(matmul_dtype or x.dtype)
    x_factor = x.astype(factor)

    def phase(t: jax.Array) -> jax.Array:
        return jnp.matmul(
            x_factor, t.astype(factor), precision="highest", preferred_element_type=x.dtype
        )

    # `vmap` over the frequencies makes one matrix product of the single ones.
    return checkpoint_name(jax.vmap(phase, out_axes=1)(frequencies), "phases")
