"""Exact maximum mean discrepancy, of any kernel, at a cost quadratic in the sample size."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from csdm_jax.metric.characteristic import row_chunks
from csdm_jax.metric.checks import check_chunks
from csdm_jax.metric.kernels import Kernel


def mmd2(
    x: jax.Array,
    y: jax.Array,
    kernel: Kernel,
    *,
    x_weights: jax.Array | None = None,
    unbiased: bool = False,
    sample_chunk: int | None = None,
) -> jax.Array:
    """Squared maximum mean discrepancy `E k(x, x') + E k(y, y') - 2 E k(x, y)`, exactly.

    Args:
        x: sample, shape [n, d], any float dtype; computed in float32 or wider.
        y: sample, shape [m, d].
        kernel: a kernel of this package, e.g. `RBF(scale=1.0)`; `Linear()` gives the loss of DM.
        x_weights: shape [n], not negative, with a positive sum: what each row of x counts in the
            means; 0 for a row that is padding. All alike if left out.
        unbiased: leave out each point's kernel with itself (the U-statistic, which may be
            negative) in place of the V-statistic, which CSDM uses.
        sample_chunk: rows of the Gram matrix at a time, to bound memory; all if left out.

    Returns:
        Scalar float32.

    Raises:
        ValueError: if the shapes disagree, a sample is empty or too small for `unbiased`, weights
            are given with `unbiased`, or the chunk is below 1.

    Source: CSDM, Section 4.1; Gretton et al. 2012.

    >>> from csdm_jax import Linear
    >>> float(mmd2(jnp.array([[0.0], [2.0]]), jnp.array([[3.0]]), Linear()))
    4.0
    """
    check_chunks(sample_chunk=sample_chunk)
    for name, sample in (("x", x), ("y", y)):
        least = 2 if unbiased else 1
        if sample.ndim == 2 and sample.shape[0] < least:
            raise ValueError(
                f"mmd2 with unbiased={unbiased} needs at least {least} rows, {name} has shape "
                f"{sample.shape}: take more samples" + (" or unbiased=False" if unbiased else "")
            )
    if x_weights is not None and (unbiased or x_weights.shape != x.shape[:1]):
        raise ValueError(
            f"x_weights have one number per row of x, and unbiased=False: got shape "
            f"{x_weights.shape} for {x.shape[0]} rows, unbiased={unbiased}"
        )
    row_means = functools.partial(_gram_row_means, kernel, sample_chunk=sample_chunk)
    u, v = _shares(x, x_weights), _shares(y, None)
    within = []
    for sample, shares in ((x, u), (y, v)):
        total, n = shares @ row_means(sample, sample, shares), sample.shape[0]
        if unbiased:
            own = jax.vmap(lambda row: kernel(row[None, :], row[None, :])[0, 0])(sample)
            total = (n * total - jnp.mean(own)) / (n - 1)
        within.append(total)
    return within[0] + within[1] - 2.0 * (u @ row_means(x, y, v))


def _shares(sample: jax.Array, weights: jax.Array | None) -> jax.Array:
    """What each row counts, shape [n], adding up to 1."""
    if weights is None:
        weights = jnp.ones(sample.shape[:1], jnp.float32)
    return weights / jnp.sum(weights)


def _gram_row_means(
    kernel: Kernel, x: jax.Array, y: jax.Array, shares: jax.Array, *, sample_chunk: int | None
) -> jax.Array:
    """Means over y, shape [n], of the rows of the Gram matrix of x and y."""

    def of(rows: jax.Array) -> jax.Array:
        return jnp.sum(kernel(rows, y) * shares, axis=1)

    if sample_chunk is None or sample_chunk >= x.shape[0]:
        return of(x)
    rows = jax.checkpoint(of, prevent_cse=False)
    return jax.lax.map(rows, row_chunks(x, sample_chunk)).reshape(-1)[: x.shape[0]]
