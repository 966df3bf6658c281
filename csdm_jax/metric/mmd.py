"""Exact maximum mean discrepancy, of any kernel, at a cost quadratic in the sample size."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from csdm_jax.metric.characteristic import normalised_weights
from csdm_jax.metric.checks import (
    as_features,
    check_chunks,
    check_kernel,
    check_two_rows,
    check_weights,
)
from csdm_jax.metric.kernels import GramFunction
from csdm_jax.metric.numerics import compute_dtype, row_chunks
from csdm_jax.metric.ragged import Ragged


def mmd2(
    x: ArrayLike,
    y: ArrayLike,
    kernel: GramFunction,
    *,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
    unbiased: bool = False,
    sample_chunk: int | None = None,
) -> jax.Array:
    """Squared maximum mean discrepancy `E k(x, x') + E k(y, y') - 2 E k(x, y)`, exactly.

    It is the square; there is no root.

    Memory is that of the Gram matrices: kernels of this package never hold the differences of all
    pairs of rows, in the gradient neither.

    Args:
        x: sample, shape [n, d], any real dtype; computed in float32 or wider.
        y: sample, shape [m, d].
        kernel: a kernel of this package, e.g. `RBF(scale=1.0)`; `Linear()` gives the loss of DM.
            Or a function of [n, d] and [m, d] that returns a Gram matrix [n, m].
        x_weights: shape [n], non-negative, of any scale: what each row of x counts in the means; a
            row of weight zero is absent. All alike if left out.
        y_weights: shape [m], likewise.
        unbiased: leave out each point's kernel with itself (the U-statistic, which may be
            negative) in place of the V-statistic, which CSDM uses. With weights the means are
            those over pairs `i != j` with weights `w_i w_j`: unbiased for weights that do not
            depend on the rows. A weight is then no number of repetitions.
        sample_chunk: rows of the Gram matrix at a time, to bound memory; all if left out.

    Returns:
        Scalar float32.

    Raises:
        ValueError: if the shapes disagree, a sample is empty or too small for `unbiased`, concrete
            weights are negative, not finite, all zero or, for `unbiased`, of one row alone, the
            kernel is a class or no function, or the chunk is below 1.

    Source: CSDM, Section 4.1; Gretton et al. 2012.

    >>> from csdm_jax import Linear
    >>> float(mmd2(jnp.array([[0.0], [2.0]]), jnp.array([[3.0]]), Linear()))
    4.0
    """
    check_kernel(kernel)
    check_chunks(sample_chunk=sample_chunk)
    x, u = _rows_and_weights("x", x, x_weights, unbiased)
    y, v = _rows_and_weights("y", y, y_weights, unbiased)
    row_means = functools.partial(gram_row_means, kernel, sample_chunk=sample_chunk)
    within = []
    for rows, weights in ((x, u), (y, v)):
        total = weights @ row_means(rows, rows, weights)
        if unbiased:
            own = jax.vmap(lambda row: kernel(row[None, :], row[None, :])[0, 0])(rows)
            squares = jnp.square(weights)
            total = (total - squares @ own) / (1.0 - jnp.sum(squares))
        within.append(total)
    return within[0] + within[1] - 2.0 * (u @ row_means(x, y, v))


def _rows_and_weights(
    name: str, x: ArrayLike, weights: ArrayLike | None, unbiased: bool
) -> tuple[jax.Array, jax.Array]:
    """Features [n, d], zero where they do not count, and weights [n] that add up to 1."""
    x = as_features(f"{name} features", x)
    if x.ndim != 2:
        raise ValueError(
            f"{name} features must have shape [n, d], got {x.shape}: one row per image, one class "
            "at a time"
        )
    least = 2 if unbiased else 1
    if x.shape[0] < least:
        raise ValueError(
            f"mmd2 with unbiased={unbiased} needs at least {least} rows, {name} has shape "
            f"{x.shape}: take more samples" + (" or unbiased=False" if unbiased else "")
        )
    if weights is not None:
        check_weights(name, x, weights)
        if unbiased:
            check_two_rows(name, weights)
        weights = jnp.asarray(weights)
    shares = normalised_weights(Ragged(x, x.shape[:1], weights=weights), compute_dtype(x))
    if weights is not None:
        x = jnp.where(shares[:, None] > 0, x, 0)  # 0 * NaN would be NaN
    return x, shares


def gram_row_means(
    kernel: GramFunction,
    x: jax.Array,
    y: jax.Array,
    weights: jax.Array,
    *,
    sample_chunk: int | None,
) -> jax.Array:
    """Means over y, shape [n], of the rows of the Gram matrix of x and y."""

    def of(rows: jax.Array) -> jax.Array:
        return jnp.matmul(kernel(rows, y), weights, precision="highest")

    n = x.shape[0]
    if sample_chunk is None or (isinstance(n, int) and sample_chunk >= n):
        return of(x)
    rows = jax.checkpoint(of, prevent_cse=False)
    return jax.lax.map(rows, row_chunks(x, sample_chunk)).reshape(-1)[:n]
