"""A frequency scale from the data."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from csdm_jax.metric.checks import as_features, known
from csdm_jax.metric.kernels import squared_distances
from csdm_jax.metric.numerics import compute_dtype


def median_heuristic(
    x: ArrayLike, y: ArrayLike | None = None, *, key: jax.Array | None = None, max_rows: int = 1024
) -> jax.Array:
    """Frequency scale of the median distance: `1 / sqrt(median ||z_i - z_j||^2 / 2)` over i < j.

    `sqrt(median / 2)` is the length scale l that other libraries call the median heuristic, for
    kernels `exp(-||x - y||^2 / (2 l^2))`; kernels here take its inverse. `RBF(scale)` of it is
    `exp(-1)` at the median distance.

    Args:
        x: features, shape [n, d], any real dtype; computed in float32 or wider.
        y: more of them, shape [m, d]: distances are then those of all n + m rows.
        key: which rows are drawn where there are more than `max_rows`; if left out, those at equal
            spacing.
        max_rows: at least 2; the cost is quadratic in it.

    Returns:
        Scalar float32, positive. It is constant for gradients.

    Raises:
        ValueError: if the shapes disagree, there are fewer than two rows, `max_rows` is below 2,
            or half of the known rows' distances are 0.

    Source: Gretton et al. 2012, Section 8; sqrt(median / 2): Garreau et al. 2017.

    >>> round(float(median_heuristic(jnp.array([[0.0], [2.0]]))), 4)
    0.7071
    """
    rows = as_features("x features", x)
    if y is not None:
        other = as_features("y features", y)
        dtype = compute_dtype(rows, other)
        if rows.ndim != 2 or rows.shape[1:] != other.shape[1:]:
            raise ValueError(
                f"median_heuristic takes samples of shapes [n, d] and [m, d], got {rows.shape} and "
                f"{other.shape}: take both from one network, one row per image"
            )
        rows = jnp.concatenate([rows.astype(dtype), other.astype(dtype)])
    if rows.ndim != 2 or rows.shape[0] < 2:
        raise ValueError(
            f"median_heuristic needs features [n, d] of at least 2 rows, got {rows.shape}: take "
            "more samples"
        )
    if max_rows < 2:
        raise ValueError(f"max_rows must be at least 2, got {max_rows}: pass e.g. 1024")
    count = rows.shape[0]
    if count > max_rows:
        spaced = np.arange(max_rows) * count // max_rows
        drawn = None if key is None else jax.random.choice(key, count, (max_rows,), replace=False)
        rows = rows[spaced if drawn is None else drawn]
    rows = jax.lax.stop_gradient(rows.astype(compute_dtype(rows)))
    pairs = squared_distances(rows, rows)[np.triu_indices(rows.shape[0], 1)]
    median = jnp.median(pairs)
    value = known(median)
    if value is not None and not value > 0:
        raise ValueError(
            f"the median distance is {value}: half of the rows are equal, and say no scale; leave "
            "duplicates out, or set the scale"
        )
    return jnp.sqrt(2.0 / median)
