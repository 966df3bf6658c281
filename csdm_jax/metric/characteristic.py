"""Empirical characteristic functions, and integrals of them over the spectral measure.

A product with the frequencies costs 2 n d T operations and cannot be avoided; everything else is
arranged so that little is added to it. Rows are taken tile by tile: a tile's phases stay in the
cache while sine and cosine of all of them are summed by class, by one small matrix product, which
needs no padding when classes differ in size. For the gradient only the phases are kept: sine and
cosine are cheap to compute again, and one array is written where there would be two.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from csdm_jax.metric.checks import check_chunks, check_sample
from csdm_jax.metric.numerics import compute_dtype, sincos

Spectrum = tuple[jax.Array, jax.Array]  # real and imaginary part: gradients stay real

CPU_TILE, ACCELERATOR_TILE = 512, 8192  # rows; see benchmarks/README.md
_KEEP_PHASES = jax.checkpoint_policies.save_only_these_names("phases")


class Sample(NamedTuple):
    """The features of all classes, one class after the other.

    Attributes:
        x: shape [N, d], any float dtype.
        weights: shape [N], non-negative, or None where all rows of a class count alike.
        sizes: rows of each class, in order; they add up to N.
    """

    x: jax.Array
    weights: jax.Array | None
    sizes: tuple[int, ...]


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
        sample_chunk: rows at a time, to bound the memory of the gradient; if left out, the
            phases of all rows are kept for it.

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
    real, imaginary = _spectrum(Sample(x, weights, x.shape[:1]), frequencies, sample_chunk)
    return jax.lax.complex(real[0], imaginary[0])


def spectral_means(
    integrand: Callable[[Spectrum, Spectrum], dict[str, jax.Array]],
    real: Sample,
    synthetic: Sample,
    frequencies: jax.Array,
    *,
    frequency_chunk: int | None,
    sample_chunk: int | None,
    matmul_dtype: DTypeLike | None = None,
) -> dict[str, jax.Array]:
    """Averages over the frequencies of functions of the two characteristic functions, per class.

    Args:
        integrand: maps the spectra of both samples, arrays [C, T], to a dict of arrays [C, T].
        real: features of C classes, checked by the caller.
        synthetic: features of the same classes.
        frequencies: shape [T, d].
        frequency_chunk: frequencies at a time, all at once if None.
        sample_chunk: rows at a time, the gradient computing phases again; kept if None.
        matmul_dtype: floating type of the factors of the products with the frequencies.

    Returns:
        The integrand's dict, each value averaged to shape [C].
    """

    def terms(t: jax.Array) -> dict[str, jax.Array]:
        return integrand(
            *(_spectrum(sample, t, sample_chunk, matmul_dtype) for sample in (real, synthetic))
        )

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


def _spectrum(
    sample: Sample,
    frequencies: jax.Array,
    sample_chunk: int | None,
    matmul_dtype: DTypeLike | None = None,
) -> Spectrum:
    """Characteristic functions of all classes at once, two arrays [C, T]."""
    dtype = compute_dtype(sample.x, frequencies)
    classes = len(sample.sizes)
    members, first, reach = _windows(sample.sizes, _tile_size(len(sample.x), sample_chunk))
    tile = members.shape[1]

    def add_tile(totals: Spectrum, rows: tuple[jax.Array, ...]) -> Spectrum:
        x, weights, member, start = rows
        x = jnp.where(weights[:, None] > 0, x.astype(dtype), 0.0)  # 0 * NaN would be NaN
        sine, cosine = sincos(_phases(x, frequencies, matmul_dtype))
        by_class = jnp.where(member[None, :] == jnp.arange(reach)[:, None], weights, 0.0)

        def add(total: jax.Array, wave: jax.Array) -> jax.Array:
            window = jax.lax.dynamic_slice_in_dim(total, start, reach)
            window = window + jnp.matmul(by_class, wave, precision="highest")
            return jax.lax.dynamic_update_slice_in_dim(total, window, start, axis=0)

        return add(totals[0], cosine), add(totals[1], sine)

    policy = _KEEP_PHASES if sample_chunk is None else None
    add_tile = jax.checkpoint(add_tile, prevent_cse=False, policy=policy)
    zero = jnp.zeros((classes, frequencies.shape[0]), dtype)
    tiles = (
        row_chunks(sample.x, tile),
        row_chunks(_shares(sample, dtype), tile),
        jnp.asarray(members),
        jnp.asarray(first),
    )
    totals, _ = jax.lax.scan(lambda t, rows: (add_tile(t, rows), None), (zero, zero), tiles)
    return totals


def _phases(x: jax.Array, frequencies: jax.Array, matmul_dtype: DTypeLike | None) -> jax.Array:
    """t.x for every row and frequency, shape [n, T]."""
    factor = jnp.dtype(matmul_dtype or x.dtype)
    x_factor = x.astype(factor)

    def phase(t: jax.Array) -> jax.Array:
        return jnp.matmul(
            x_factor, t.astype(factor), precision="highest", preferred_element_type=x.dtype
        )

    # `vmap` over the frequencies makes one matrix product of the single ones.
    return checkpoint_name(jax.vmap(phase, out_axes=1)(frequencies), "phases")


def _shares(sample: Sample, dtype: jnp.dtype) -> jax.Array:
    """Weights [N] that sum to 1 over the rows of each class."""
    sizes = np.array(sample.sizes)
    if sample.weights is None:
        return jnp.asarray(np.repeat(1.0 / sizes, sizes), dtype)
    weights = jnp.asarray(sample.weights).astype(dtype)
    classes = np.repeat(np.arange(len(sizes)), sizes)
    totals = jax.ops.segment_sum(weights, classes, len(sizes), indices_are_sorted=True)
    return weights / totals[classes]


def _tile_size(rows: int, sample_chunk: int | None) -> int:
    """Rows of a tile: at most those asked for, in tiles as equal as can be.

    On a CPU the phases of a tile have to stay in the cache; an accelerator wants large products.
    Who asks for chunks saves memory: to pad the last one all features would be copied, so a tile
    that divides the rows, and is no less than three quarters as large, is taken where there is one.
    """
    default = CPU_TILE if jax.default_backend() == "cpu" else ACCELERATOR_TILE
    size = math.ceil(rows / math.ceil(rows / (sample_chunk or default)))
    smaller = range(size, size - size // 4 - 1, -1) if sample_chunk else ()
    return next((tile for tile in smaller if rows % tile == 0), size)


def _windows(sizes: tuple[int, ...], tile: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Which classes each tile has rows of.

    Classes lie one after the other, so that a tile sees a window of them: sums over a window in
    place of all classes keep the cost linear in their number.

    Returns:
        Class of each row relative to its tile's window [tiles, tile], first class of each window
        [tiles], and the number of classes of a window, common to all.
    """
    rows = np.repeat(np.arange(len(sizes)), sizes)
    classes = np.pad(rows, (0, -len(rows) % tile), mode="edge").reshape(-1, tile)
    reach = int(np.max(classes[:, -1] - classes[:, 0])) + 1
    first = np.minimum(classes[:, 0], len(sizes) - reach)
    return (classes - first[:, None]).astype(np.int32), first.astype(np.int32), reach


def row_chunks(array: jax.Array, size: int) -> jax.Array:
    """Split the first axis into chunks, zero-padded to a whole number of them."""
    count = math.ceil(array.shape[0] / size)
    padding = [(0, count * size - array.shape[0])] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(count, size, *array.shape[1:])
