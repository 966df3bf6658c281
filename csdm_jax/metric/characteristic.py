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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from csdm_jax.metric.checks import as_features, check_chunks, check_sample
from csdm_jax.metric.comparison import Comparison, is_static
from csdm_jax.metric.numerics import compute_dtype, row_chunks, varying_like
from csdm_jax.metric.ragged import Ragged
from csdm_jax.metric.waves import phases_of, sums_of, waves_of

Spectrum = tuple[jax.Array, jax.Array]  # real and imaginary part: gradients stay real

CPU_TILE, ACCELERATOR_TILE = 512, 8192  # rows; see benchmarks/README.md
_KEEP_PHASES = jax.checkpoint_policies.save_only_these_names("phases")


def characteristic_function(
    x: ArrayLike,
    frequencies: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    sample_chunk: int | None = None,
) -> jax.Array:
    """Empirical characteristic function `Phi(t) = sum_j w_j exp(i t.x_j) / sum_j w_j`.

    Args:
        x: sample, shape [n, d], any real dtype; phases are computed in float32 or wider.
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
    x, frequencies = as_features("x features", x), as_features("frequencies", frequencies)
    check_sample("x", x, frequencies, weights, ranks=(2,))
    check_chunks(sample_chunk=sample_chunk)
    weights = None if weights is None else jnp.asarray(weights)
    real, imaginary = spectrum(Ragged(x, x.shape[:1], weights=weights), frequencies, sample_chunk)
    return jax.lax.complex(real[0], imaginary[0])


def spectral_means(
    integrand: Callable[[Spectrum, Spectrum], dict[str, jax.Array]],
    comparison: Comparison,
    *,
    per_scale: bool = False,
) -> dict[str, jax.Array]:
    """Averages over the frequencies of functions of the two characteristic functions, per class.

    Args:
        integrand: maps the spectra of both samples, arrays [C, T], to a dict of arrays [C, T].
        comparison: the samples, the frequencies, and in which chunks.
        per_scale: keep the scales apart.

    Returns:
        The integrand's dict, each value averaged to shape [C], or to [C, K] of K scales.
    """
    samples = (comparison.real, comparison.synthetic)
    frequencies, frequency_chunk = comparison.frequencies, comparison.frequency_chunk
    assert frequencies is not None

    num, scales = frequencies.shape[0], comparison.scales
    count = len(scales or (1,))
    settings = (comparison.sample_chunk, comparison.matmul_dtype, scales)

    def terms(t: jax.Array, known: tuple[Any, ...]) -> dict[str, jax.Array]:
        spectra = (
            spectrum(side, t, *settings) if isinstance(side, Ragged) else columns
            for side, columns in zip(samples, known, strict=True)
        )
        return integrand(*spectra)

    def averaged(term: jax.Array) -> jax.Array:
        if per_scale:
            return jnp.mean(term.reshape(len(term), count, -1), axis=2)
        return jnp.mean(term, axis=1)

    def summed(term: jax.Array, present: jax.Array) -> jax.Array:
        by_scale = jnp.where(present, term.reshape(len(term), count, -1), 0.0)
        return jnp.sum(by_scale, axis=2 if per_scale else (1, 2))

    # What sketches know of the frequencies; of the other sides spectra are computed.
    known = tuple(None if isinstance(s, Ragged) else s.spectrum() for s in samples)
    if frequency_chunk is None or frequency_chunk >= num:
        return jax.tree.map(averaged, terms(frequencies, known))

    def by_frequency(columns: jax.Array) -> jax.Array:
        """Columns [C, K T] as [T, C, K], to be cut along T."""
        return jnp.moveaxis(columns.reshape(len(columns), -1, num), 2, 0)

    @functools.partial(jax.checkpoint, prevent_cse=False)  # its phases are recomputed, not kept
    def partial_sum(t: jax.Array, present: jax.Array, cut: tuple[Any, ...]) -> dict[str, jax.Array]:
        known = jax.tree.map(lambda c: jnp.moveaxis(c, 0, 2).reshape(c.shape[1], -1), cut)
        present = present[None, None, :]
        return jax.tree.map(lambda term: summed(term, present), terms(t, known))

    chunks = (
        row_chunks(frequencies, frequency_chunk),
        row_chunks(jnp.ones(num, bool), frequency_chunk),
        jax.tree.map(lambda c: row_chunks(by_frequency(c), frequency_chunk), known),
    )
    shapes = jax.eval_shape(partial_sum, *jax.tree.map(lambda chunk: chunk[0], chunks))
    arrays = [leaf for leaf in jax.tree.leaves(comparison) if isinstance(leaf, jax.Array)]
    totals, _ = jax.lax.scan(
        lambda total, chunk: (jax.tree.map(jnp.add, total, partial_sum(*chunk)), None),
        jax.tree.map(lambda s: varying_like(jnp.zeros(s.shape, s.dtype), *arrays), shapes),
        chunks,
    )
    return jax.tree.map(lambda total: total / (num if per_scale else num * count), totals)


def spectrum(
    sample: Ragged,
    frequencies: jax.Array,
    sample_chunk: int | None,
    matmul_dtype: DTypeLike | None = None,
    scales: tuple[float, ...] | None = None,
) -> Spectrum:
    """Characteristic functions of all classes at once, two arrays [C, T].

    With K scales [C, K T]: at the frequencies times the first, the second, ..., from one product.
    """
    if sample.sizes is None:
        return _spectra_of_equal_classes(sample, frequencies, sample_chunk, matmul_dtype, scales)
    dtype = compute_dtype(sample.values, frequencies)
    weights = normalised_weights(sample, dtype)
    members, first, reach = _windows(sample, _tile_size(sample.values.shape[0], sample_chunk))
    tile = members.shape[1]

    def add_tile(totals: Spectrum, rows: tuple[jax.Array, ...]) -> Spectrum:
        x, weights, member, start = rows
        x = jnp.where(weights[:, None] > 0, x.astype(dtype), 0.0)  # 0 * NaN would be NaN
        sines, cosines = waves_of(phases_of(x, frequencies, matmul_dtype), scales)
        belongs = member[None, :] == jnp.arange(reach, dtype=member.dtype)[:, None]
        by_class = jnp.where(belongs, weights[None, :], 0.0)

        def add(total: jax.Array, waves: list[jax.Array]) -> jax.Array:
            window = jax.lax.dynamic_slice_in_dim(total, start, reach)
            window = window + sums_of(by_class, waves)
            return jax.lax.dynamic_update_slice_in_dim(total, window, start, axis=0)

        return add(totals[0], cosines), add(totals[1], sines)

    policy = _KEEP_PHASES if sample_chunk is None else None
    add_tile = jax.checkpoint(add_tile, prevent_cse=False, policy=policy)
    columns = frequencies.shape[0] * len(scales or (1,))
    zero = jnp.zeros((sample.num_classes, columns), dtype)
    zero = varying_like(zero, sample.values, weights, frequencies)
    tiles = (row_chunks(sample.values, tile), row_chunks(weights, tile), members, first)
    totals, _ = jax.lax.scan(lambda t, rows: (add_tile(t, rows), None), (zero, zero), tiles)
    return totals


def _spectra_of_equal_classes(
    sample: Ragged,
    frequencies: jax.Array,
    sample_chunk: int | None,
    matmul_dtype: DTypeLike | None,
    scales: tuple[float, ...] | None,
) -> Spectrum:
    """The same for features [C, n, d], whose sizes may be symbols: class by class."""

    def of_one(x: jax.Array, weights: jax.Array | None) -> Spectrum:
        one = Ragged(x, x.shape[:1], weights=weights)
        real, imaginary = spectrum(one, frequencies, sample_chunk, matmul_dtype, scales)
        return real[0], imaginary[0]

    return jax.vmap(of_one, in_axes=(0, None if sample.weights is None else 0))(
        sample.values, sample.weights
    )


def normalised_weights(sample: Ragged, dtype: jnp.dtype) -> jax.Array:
    """Weights [N], of any scale, as ones that sum to 1 over the rows of each class."""
    assert sample.sizes is not None
    rows, sizes = sample.values.shape[0], sample.sizes
    if sample.weights is None and is_static(sample.values):
        return jnp.asarray(np.repeat(1.0 / np.array(sizes), sizes), dtype)
    if sample.weights is None:
        return jnp.full((rows,), 1.0, dtype) / rows
    if len(sizes) == 1:
        peak, total = jnp.max, jnp.sum
    else:
        classes = np.repeat(np.arange(len(sizes)), sizes)

        def by_class(reduce: Callable[..., jax.Array], values: jax.Array) -> jax.Array:
            return reduce(values, classes, len(sizes), indices_are_sorted=True)[classes]

        peak = functools.partial(by_class, jax.ops.segment_max)
        total = functools.partial(by_class, jax.ops.segment_sum)
    weights = _rescale(sample.weights.astype(dtype), peak)
    largest = jax.lax.stop_gradient(peak(weights))  # their sum would overflow near the largest
    weights = weights / jnp.where(largest > 0, largest, 1.0)
    return weights / total(weights)


def _rescale(weights: jax.Array, peak: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Weights times a power of 2, one for each class, so that none nor its inverse vanishes.

    XLA takes a float32 below 1e-38 for 0, also the inverse of one near the largest.
    """
    if weights.dtype != jnp.float32:
        return weights
    bits = jax.lax.bitcast_convert_type(weights, jnp.int32)
    subnormal = (bits & 0x7F800000) == 0  # an integer times 2^-149
    lifted = (bits & 0x007FFFFF).astype(jnp.float32) * 2.0**-125
    lifted = jnp.where(subnormal, lifted, weights * 2.0**24)
    return jnp.where(peak(bits) < 0x3F800000, lifted, weights * 2.0**-24)


def _tile_size(rows: int, sample_chunk: int | None) -> int:
    """Rows of a tile: at most those asked for, in tiles as equal as can be.

    On a CPU the phases of a tile have to stay in the cache; an accelerator wants large products.
    Who asks for chunks saves memory: to pad the last one all features would be copied, so a tile
    that divides the rows, and is no less than three quarters as large, is taken where there is one.
    """
    most = sample_chunk or (CPU_TILE if jax.default_backend() == "cpu" else ACCELERATOR_TILE)
    if not isinstance(rows, int):  # a symbol of `jax.export`
        return most
    size = math.ceil(rows / math.ceil(rows / most))
    smaller = range(size, size - size // 4 - 1, -1) if sample_chunk else ()
    return next((tile for tile in smaller if rows % tile == 0), size)


def _windows(sample: Ragged, tile: int) -> tuple[jax.Array, jax.Array, int]:
    """Which classes each tile has rows of.

    Classes lie one after the other, so that a tile sees a window of them: sums over a window in
    place of all classes keep the cost linear in their number.

    Returns:
        Class of each row relative to its tile's window [tiles, tile], first class of each window
        [tiles], and the number of classes of a window, common to all.
    """
    assert sample.sizes is not None
    if sample.num_classes == 1:
        count = -(-sample.values.shape[0] // tile)
        return jnp.zeros((count, tile), jnp.int32), jnp.zeros(count, jnp.int32), 1
    rows = np.repeat(np.arange(sample.num_classes), sample.sizes)
    classes = np.pad(rows, (0, -len(rows) % tile), mode="edge").reshape(-1, tile)
    reach = int(np.max(classes[:, -1] - classes[:, 0])) + 1
    first = np.minimum(classes[:, 0], sample.num_classes - reach)
    members = (classes - first[:, None]).astype(np.int32)
    return jnp.asarray(members), jnp.asarray(first.astype(np.int32)), reach
