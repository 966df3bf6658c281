"""First and second moments of the classes of a sample, which several distances compare.

The covariance matrices `[d, d]` are never made: with rows centred at their class's mean,

    ||C_x - C_y||_F^2 = E (x.x')^2 - 2 E (x.y)^2 + E (y.y')^2,

which is the squared MMD of the homogeneous quadratic kernel, from Gram matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import metric
from csdm_jax.distillation.methods.matching.matching import Distance
from csdm_jax.metric.ragged import Ragged

SQUARE = metric.Polynomial(degree=2, gamma=1.0, coef0=0.0)


class Moments(NamedTuple):
    """What is kept of a sample.

    Attributes:
      means: `[k, d]`.
      rows: the rows of each class, centred; or their part of a comparison, computed once.
    """

    means: jax.Array
    rows: Ragged | metric.Reference


def of_rows(by_class: jax.Array, side: Ragged) -> jax.Array:
    """What belongs to the classes `[k, ...]`, once for each of their rows `[N, ...]`."""
    assert side.sizes is not None
    return by_class[np.repeat(np.arange(len(side.sizes)), side.sizes)]


def moments(side: Ragged) -> Moments:
    """Means and centred rows of each class of `[N, d]` features."""
    means = side.means()
    return Moments(means, side.with_values(side.values - of_rows(means, side)))


def kept(real: Ragged, key: jax.Array) -> Moments:
    """What a view keeps of the real side; see `Summarise`."""
    del key
    found = moments(real)
    assert isinstance(found.rows, Ragged)
    return found._replace(rows=metric.reference(found.rows, SQUARE, dtype=jnp.bfloat16))


def gaps(real: Ragged | Moments, synthetic: Ragged) -> tuple[jax.Array, jax.Array]:
    """How far means and covariances of each class are apart.

    Covariances are means over the rows: nothing is divided by n - 1.

    Returns:
      `||mu_R - mu_S||^2` and `||C_R - C_S||_F^2`, `[k]` each.
    """
    real = moments(real) if isinstance(real, Ragged) else real
    own = moments(synthetic)
    assert isinstance(own.rows, Ragged)
    _, parts = metric.sdd_parts(real.rows, own.rows, None, estimator="exact", kernel=SQUARE)
    return jnp.sum(jnp.square(real.means - own.means), axis=-1), parts["sdd"]


def distance(weight: float) -> Distance:
    """The sum over classes of the gap of the means and `weight` times that of the covariances."""

    def of(real: Ragged | Moments, synthetic: Ragged, key: jax.Array) -> tuple[jax.Array, dict]:
        del key
        means, covariances = gaps(real, synthetic)
        loss = jnp.sum(means + weight * covariances)
        return loss, {"means": means, "covariances": covariances}

    return of
