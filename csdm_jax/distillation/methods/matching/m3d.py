"""M3D: exact MMD of a sum of Gaussian kernels, whose bandwidths follow from the step's features.

    k(x, y) = sum_{j=-2..2} exp(-||x - y||^2 / (2^j b_c)),

with `b_c` the mean squared distance of two different rows among the real and synthetic features of
class c. It is taken as a constant, and differs from class to class and from step to step.

Source: Zhang et al. 2024, M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy.
Cost: two forward passes of the synthetic and one of the real batch, O(n^2 d) for the metric.
Deviations: in our recipe unit features of trained extractors and the calibration; with
recipe=published raw features of a network that nobody has trained, drawn anew in every step, not in
every fifth. One joint step for all classes. Published settings are those that its public base
configuration gives for every number of images; those for each number are not public.
Licence: MIT.
Status: tested; published form not reproducible: settings for each number of images are not public.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax import metric
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.distillation.methods.matching.moments import of_rows
from csdm_jax.distillation.methods.matching.published import MIXED
from csdm_jax.metric.ragged import Ragged

FACTORS = tuple(2.0**j for j in range(-2, 3))
"""Of the bandwidth, one for each kernel of the sum."""


def bandwidths(real: Ragged, synthetic: Ragged) -> jax.Array:
    """Mean squared distance of two different rows of both sides together, `[k]`; a constant.

    1 where all rows of a class are the same.
    """
    sides = [jax.tree.map(jax.lax.stop_gradient, side) for side in (real, synthetic)]
    counts = [_totals(side, jnp.ones((len(side.values), 1))) for side in sides]
    count = counts[0] + counts[1]
    mean = sum(n * side.means() for n, side in zip(counts, sides, strict=True)) / count
    spread = sum(
        _totals(side, jnp.sum(jnp.square(side.values - of_rows(mean, side)), axis=1)[:, None])
        for side in sides
    )
    # Over all pairs, n of them of a row with itself, the squares add up to 2 n times the spread.
    found = (2.0 * spread / (count - 1.0))[:, 0]
    return jnp.where(found > 0, found, 1.0)


def _totals(side: Ragged, values: jax.Array) -> jax.Array:
    """Sums over the rows of each class that count, of values `[N, 1]`: `[k, 1]`."""
    assert side.sizes is not None
    padded = values if side.weights is None else values * side.weights[:, None]
    members = of_rows(jnp.arange(len(side.sizes)), side)
    return jax.ops.segment_sum(padded, members, len(side.sizes), indices_are_sorted=True)


def multi_scale_mmd(
    real: Ragged, synthetic: Ragged, factors: tuple[float, ...] = FACTORS
) -> jax.Array:
    """Squared MMD of each class, `[k]`, of the sum of Gaussian kernels.

    Args:
      real: features `[N, d]`.
      synthetic: features `[M, d]` of the same classes.
      factors: of the bandwidth, one a kernel.
    """
    # Features in units of the bandwidth: the kernel is then the same for all classes.
    lengths = jnp.sqrt(bandwidths(real, synthetic))[:, None]
    x, y = (side.with_values(side.values / of_rows(lengths, side)) for side in (real, synthetic))
    kernel = metric.Mixture(tuple(metric.RBF((2.0 / factor) ** 0.5) for factor in factors))
    _, parts = metric.sdd_parts(x, y, None, estimator="exact", kernel=kernel)
    return len(factors) * parts["sdd"]  # a mixture is the mean of its kernels


def distance(real: Ragged, synthetic: Ragged, key: jax.Array) -> tuple[jax.Array, dict]:
    """The sum over classes; see `Distance`."""
    del key
    squares = multi_scale_mmd(real, synthetic)
    return jnp.sum(squares), {"distance": squares}


def create(config: Any, context: Context) -> Matching:
    """Exact MMD of Gaussian kernels at five bandwidths around the mean distance of each class."""
    return Matching(config, context, distance)


PUBLISHED = MIXED | {
    "distill.steps": 5000,
    "distill.batch": 128,
    "distill.learning_rate": 5e-3,
    "distill.extractor": "fresh",
    "distill.features": "raw",
    "distill.loss_scale": 1.0,
    "distill.calibration": 0.0,
    "evaluate.epochs": 1000,
}
KIND = kind(create, published=PUBLISHED)
