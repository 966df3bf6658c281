"""Exact maximum mean discrepancy, of any kernel, at a cost quadratic in the sample size."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from csdm_jax.characteristic import row_chunks
from csdm_jax.checks import check_chunks
from csdm_jax.kernels import Kernel


def mmd2(
    x: jax.Array,
    y: jax.Array,
    kernel: Kernel,
    *,
    unbiased: bool = False,
    sample_chunk: int | None = None,
) -> jax.Array:
    """Squared maximum mean discrepancy `E k(x, x') + E k(y, y') - 2 E k(x, y)`, exactly.

    Args:
        x: sample, shape [n, d], any float dtype; computed in float32 or wider.
        y: sample, shape [m, d].
        kernel: a kernel of this package, e.g. `RBF(scale=1.0)`; `Linear()` gives the loss of DM.
        unbiased: leave out each point's kernel with itself (the U-statistic, which may be
            negative) in place of the V-statistic, which CSDM uses.
        sample_chunk: rows of the Gram matrix at a time, to bound memory; all if left out.

    Returns:
        Scalar float32.

    Raises:
        ValueError: if the shapes disagree, a sample is empty or too small for `unbiased`, or the
            chunk is below 1.

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
    row_sums = functools.partial(_gram_row_sums, kernel, sample_chunk=sample_chunk)
    cross = jnp.mean(row_sums(x, y)) / y.shape[0]
    within = []
    for sample in (x, y):
        sums, partners = row_sums(sample, sample), sample.shape[0]
        if unbiased:
            sums = sums - jax.vmap(lambda row: kernel(row[None, :], row[None, :])[0, 0])(sample)
            partners -= 1
        within.append(jnp.mean(sums) / partners)
    return within[0] + within[1] - 2.0 * cross


def _gram_row_sums(
    kernel: Kernel, x: jax.Array, y: jax.Array, *, sample_chunk: int | None
) -> jax.Array:
    """Row sums, shape [n], of the Gram matrix of x and y."""
    if sample_chunk is None or sample_chunk >= x.shape[0]:
        return jnp.sum(kernel(x, y), axis=1)
    rows = jax.checkpoint(lambda chunk: jnp.sum(kernel(chunk, y), axis=1), prevent_cse=False)
    return jax.lax.map(rows, row_chunks(x, sample_chunk)).reshape(-1)[: x.shape[0]]
