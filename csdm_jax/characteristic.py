"""Empirical characteristic functions, and integrals of them over the spectral measure."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from csdm_jax.checks import check_chunks, check_sample
from csdm_jax.numerics import compute_dtype

Spectrum = tuple[jax.Array, jax.Array]  # real and imaginary part: gradients stay real


def characteristic_function(
    x: jax.Array,
    frequencies: jax.Array,
    *,
    weights: jax.Array | None = None,
    sample_chunk: int | None = None,
) -> jax.Array:
    """Empirical characteristic function `Phi(t) = sum_j w_j exp(i t.x_j) / sum_j w_j`.

    Args:
        x: sample, shape [n, d], any float dtype; phases are computed in float32 or wider.
        frequencies: shape [T, d].
        weights: shape [n], non-negative, any scale; all equal if left out. A row of weight zero
            is absent: it touches neither value nor gradient, even if it holds NaN.
        sample_chunk: rows at a time, to bound memory; all at once if left out.

    Returns:
        Complex values, shape [T], complex64 (complex128 for float64 input).

    Raises:
        ValueError: if shapes disagree, the sample is empty, concrete weights are negative, not
            finite or all zero, or the chunk is below 1.

    Source: CSDM, Section 4.2.2.

    >>> characteristic_function(jnp.zeros((5, 2)), jnp.ones((3, 2))).tolist()
    [(1+0j), (1+0j), (1+0j)]
    """
    check_sample("x", x, frequencies, weights, ranks=(2,))
    check_chunks(sample_chunk=sample_chunk)
    x, weights = weighted_sample(x, weights, compute_dtype(x, frequencies))
    return jax.lax.complex(*_spectrum(x, weights, frequencies, sample_chunk))


def spectral_means(
    integrand: Callable[[Spectrum, Spectrum], dict[str, jax.Array]],
    real: tuple[jax.Array, jax.Array | None],
    synthetic: tuple[jax.Array, jax.Array | None],
    frequencies: jax.Array,
    *,
    frequency_chunk: int | None,
    sample_chunk: int | None,
) -> dict[str, jax.Array]:
    """Averages over the frequencies of functions of the two characteristic functions, per class.

    Args:
        integrand: maps the spectra of both samples, arrays [C, T], to a dict of arrays [C, T].
        real: features [C, n, d] and weights [C, n] (or None), checked by the caller.
        synthetic: features [C, m, d] and weights [C, m] (or None).
        frequencies: shape [T, d].
        frequency_chunk: frequencies at a time, all at once if None.
        sample_chunk: rows at a time, all at once if None.

    Returns:
        The integrand's dict, each value averaged to shape [C].
    """
    dtype = compute_dtype(real[0], synthetic[0], frequencies)
    samples = (weighted_sample(*real, dtype), weighted_sample(*synthetic, dtype))
    per_class = jax.vmap(
        functools.partial(_spectrum, sample_chunk=sample_chunk), in_axes=(0, 0, None)
    )

    def terms(t: jax.Array) -> dict[str, jax.Array]:
        return integrand(*(per_class(x, weights, t) for x, weights in samples))

    num = frequencies.shape[0]
    if frequency_chunk is None or frequency_chunk >= num:
        return jax.tree.map(lambda term: jnp.mean(term, axis=1), terms(frequencies))

    @functools.partial(jax.checkpoint, prevent_cse=False)  # its phases are recomputed, not kept
    def partial_sum(t: jax.Array, present: jax.Array) -> dict[str, jax.Array]:
        return jax.tree.map(
            lambda term: jnp.sum(jnp.where(present[None, :], term, 0.0), axis=1), terms(t)
        )

    chunks = (
        row_chunks(frequencies, frequency_chunk),
        row_chunks(jnp.ones(num, bool), frequency_chunk),
    )
    shapes = jax.eval_shape(partial_sum, *(chunk[0] for chunk in chunks))
    totals, _ = jax.lax.scan(
        lambda total, chunk: (jax.tree.map(jnp.add, total, partial_sum(*chunk)), None),
        jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes),
        chunks,
    )
    return jax.tree.map(lambda total: total / num, totals)


def weighted_sample(
    x: jax.Array, weights: jax.Array | None, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array]:
    """The features with absent rows blanked, and weights that sum to 1 over the rows."""
    if weights is None:
        return x.astype(dtype), jnp.full(x.shape[:-1], 1.0 / x.shape[-2], dtype)
    weights = jnp.asarray(weights).astype(dtype)
    # NaN padding times a zero weight would be NaN, in the gradient too: hence `where`.
    x = jnp.where(weights[..., None] > 0, x.astype(dtype), 0.0)
    return x, weights / jnp.sum(weights, axis=-1, keepdims=True)


def _spectrum(
    x: jax.Array, weights: jax.Array, frequencies: jax.Array, sample_chunk: int | None
) -> Spectrum:
    """Weighted sums of cos(t.x) and sin(t.x) over the rows of one sample."""

    def over_rows(x: jax.Array, weights: jax.Array) -> Spectrum:
        def phase(t: jax.Array) -> jax.Array:
            return jnp.matmul(x, t.astype(x.dtype), precision="highest")

        phases = jax.vmap(phase, out_axes=1)(frequencies)  # [n, T]: one matmul
        column = weights[:, None]
        return jnp.sum(column * jnp.cos(phases), axis=0), jnp.sum(column * jnp.sin(phases), axis=0)

    if sample_chunk is None or sample_chunk >= x.shape[0]:
        return over_rows(x, weights)
    over_rows_again = jax.checkpoint(over_rows, prevent_cse=False)
    zero = jnp.zeros(frequencies.shape[0], x.dtype)
    spectrum, _ = jax.lax.scan(
        lambda total, chunk: (jax.tree.map(jnp.add, total, over_rows_again(*chunk)), None),
        (zero, zero),
        (row_chunks(x, sample_chunk), row_chunks(weights, sample_chunk)),  # padding: weight 0
    )
    return spectrum


def row_chunks(array: jax.Array, size: int) -> jax.Array:
    """Split the first axis into chunks, zero-padded to a whole number of them."""
    count = math.ceil(array.shape[0] / size)
    padding = [(0, count * size - array.shape[0])] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(count, size, *array.shape[1:])
