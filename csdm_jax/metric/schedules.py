"""The class schedule: how much each class weighs amplitude against phase."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.metric.checks import known


def class_alphas(counts: jax.Array, *, head: float, tail: float) -> jax.Array:
    """Amplitude weight of every class, from the class counts of a long-tailed set.

    `alpha_c = tail + (head - tail) (log n_c - log n_min) / (log n_max - log n_min)`.
    Equal counts give `head` for every class; `head < tail` is the reversed schedule.

    Args:
        counts: images per class, shape [C], positive.
        head: amplitude weight of the largest class, in the open interval (0, 1).
        tail: amplitude weight of the smallest class, in the open interval (0, 1).

    Returns:
        Weights, shape [C], float32, between head and tail.

    Raises:
        ValueError: if head or tail is outside (0, 1), or counts is not a non-empty vector of
            positive finite numbers.

    Source: CSDM, Section 4.2.4; the interpolation in log count is this library's choice.

    >>> print(class_alphas(jnp.array([1000, 100, 10]), head=0.75, tail=0.25))
    [0.75 0.5  0.25]
    """
    for name, value in (("head", head), ("tail", tail)):
        if not 0 < value < 1:
            raise ValueError(
                f"{name} must lie in the open interval (0, 1), got {value}: at 0 or 1 the "
                "discrepancy is no distance; pass e.g. 0.7"
            )
    if np.ndim(counts) != 1 or np.size(counts) == 0:
        raise ValueError(
            f"counts must be a vector [classes], got shape {np.shape(counts)}: pass the number of "
            "images of every class"
        )
    values = known(counts)
    if values is not None and not np.all((values > 0) & np.isfinite(values)):
        raise ValueError(
            f"class counts must be positive, got {values.tolist()}: drop the empty classes"
        )
    counts = jnp.asarray(counts).astype(jnp.float32)
    position = jnp.log(counts) - jnp.log(jnp.min(counts))
    span = jnp.max(position)
    share = jnp.where(span > 0, position / jnp.where(span > 0, span, 1.0), 1.0)
    return tail + (head - tail) * share
