"""Phases of rows at frequencies, and sums of their waves: what all spectra are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from csdm_jax.metric.numerics import sincos


def waves_of(
    phases: jax.Array, scales: tuple[float, ...] | None
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Sines and cosines of phases [n, T], one array [n, T] for each of K scales.

    Not as one array: what belongs to one scale stays in the cache until it is summed.
    """
    scaled = [phases] if scales is None else [scale * phases for scale in scales]
    sines, cosines = zip(*map(sincos, scaled), strict=True)
    return list(sines), list(cosines)


def sums_of(by_class: jax.Array, waves: list[jax.Array]) -> jax.Array:
    """Weighted sums [C, K T] of waves at K scales, from weights [C, n]."""
    sums = [jnp.matmul(by_class, wave, precision="highest") for wave in waves]
    return sums[0] if len(sums) == 1 else jnp.concatenate(sums, axis=1)


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
