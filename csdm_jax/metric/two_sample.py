"""Whether two samples come from one distribution: a permutation test on SDD."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from csdm_jax.metric.checks import as_features, check_chunks, check_pair
from csdm_jax.metric.numerics import compute_dtype, row_chunks, sincos
from csdm_jax.metric.waves import phases_of

TILE = 1024  # rows at a time
ROTATE_FROM = 8  # rows for each permutation; an order of its own costs a sort
_TIE = 1e-6  # a value this close to the observed one is no smaller; in parts of it


def sdd_test(
    key: jax.Array,
    x: ArrayLike,
    y: ArrayLike,
    frequencies: ArrayLike,
    *,
    permutations: int = 199,
    sample_chunk: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Two-sample permutation test of `sdd`: its value, and how rare that is for equal laws.

    Sines and cosines of all rows are taken once; the sums under all relabellings are one matrix
    product with them, so that the time is linear in the rows. Relabellings keep n and m. They are
    random orders of the rows, which take a sort each, below 8 rows a permutation; from there on
    rotations of one random order: a group, so that the level is as exact.

    Args:
        key: JAX random key, of the relabellings.
        x: sample, shape [n, d], any real dtype; computed in float32 or wider.
        y: sample, shape [m, d].
        frequencies: shape [T, d], from `sample_frequencies`. They may depend on the rows, as by
            `median_heuristic(x, y)`, but not on which of them are of x.
        permutations: B, at least 1; p is a multiple of 1 / (B + 1).
        sample_chunk: rows at a time; 1024 if left out.

    Returns:
        The statistic, `sdd(x, y, frequencies)` (squared, of the V-statistic), and
        `p = (1 + #{relabelled values at least as large}) / (B + 1)`, scalars float32. Under the
        hypothesis of one distribution `P(p <= a) <= a`.

    Raises:
        ValueError: if shapes disagree, a sample is empty, or a count is below 1.

    Source: Gretton et al. 2012, Section 5; p: Phipson & Smyth 2010; subgroups: Hemerik &
    Goeman 2018.

    >>> x, y = jnp.arange(8.0)[:, None], jnp.arange(8.0)[:, None] + 6.0
    >>> value, p = sdd_test(jax.random.key(0), x, y, jnp.array([[0.1], [0.2]]))
    >>> bool(p <= 0.05)
    True
    """
    x, y = as_features("x features", x), as_features("y features", y)
    frequencies = as_features("frequencies", frequencies)
    check_pair(("x", x, None), ("y", y, None), frequencies, ranks=(2,))
    check_chunks(sample_chunk=sample_chunk)
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, got {permutations}: pass e.g. 199")
    dtype = compute_dtype(x, y, frequencies)
    rows = jnp.concatenate([x.astype(dtype), y.astype(dtype)])
    sizes = (x.shape[0], y.shape[0])
    sums, whole = _sums(key, rows, frequencies, sizes, permutations, sample_chunk or TILE)
    means = sums / sizes[0] - (whole[None, :] - sums) / sizes[1]
    values = jnp.sum(jnp.square(means), axis=1) / frequencies.shape[0]
    observed, relabelled = values[0], values[1:]
    reached = jnp.sum(relabelled >= observed * (1.0 - _TIE))
    return observed, (1 + reached).astype(dtype) / (permutations + 1)


def _sums(
    key: jax.Array,
    rows: jax.Array,
    frequencies: jax.Array,
    sizes: tuple[int, int],
    permutations: int,
    tile: int,
) -> tuple[jax.Array, jax.Array]:
    """Sums of the waves of x as labelled and relabelled, [1 + B, 2T], and of all rows, [2T]."""
    count, tile = sum(sizes), min(tile, sum(sizes))
    of_x = _labels(key, sizes, permutations)

    def add_tile(
        totals: tuple[jax.Array, jax.Array], part: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        x, numbers, present = part
        waves = jnp.concatenate(sincos(phases_of(x, frequencies, None)), axis=1)
        waves = jnp.where(present[:, None], waves, 0.0)
        chosen = of_x(numbers).astype(waves.dtype)
        sums = jnp.matmul(chosen, waves, precision="highest")
        return (totals[0] + sums, totals[1] + jnp.sum(waves, axis=0)), None

    columns = 2 * frequencies.shape[0]
    zeros = (jnp.zeros((1 + permutations, columns), rows.dtype), jnp.zeros(columns, rows.dtype))
    numbers, present = jnp.arange(count, dtype=jnp.int32), jnp.ones(count, bool)
    parts = tuple(row_chunks(array, tile) for array in (rows, numbers, present))
    totals, _ = jax.lax.scan(add_tile, zeros, parts)
    return totals


def _labels(
    key: jax.Array, sizes: tuple[int, int], permutations: int
) -> Callable[[jax.Array], jax.Array]:
    """Row numbers [k] to whether these rows count as of x, bool [1 + B, k]; first as they are."""
    count = sum(sizes)
    own = jnp.arange(count, dtype=jnp.int32) < sizes[0]
    if count < ROTATE_FROM * permutations:
        keys = jax.random.split(key, permutations)
        drawn = jax.vmap(lambda k: jax.random.permutation(k, own))(keys)
        labels = jnp.concatenate([own[None, :], drawn])
        return lambda numbers: labels[:, numbers]
    order_key, turn_key = jax.random.split(key)
    order = jax.random.permutation(order_key, count)
    place = jnp.zeros(count, jnp.int32).at[order].set(jnp.arange(count, dtype=jnp.int32))
    turns = jax.random.randint(turn_key, (permutations,), 0, count)
    turns = jnp.concatenate([jnp.zeros(1, turns.dtype), turns])
    in_order = own[order]
    return lambda numbers: in_order[(place[numbers][None, :] + turns[:, None]) % count]
