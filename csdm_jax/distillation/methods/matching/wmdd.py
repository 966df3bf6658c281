"""WMDD: synthetic features at the atoms of a Wasserstein barycentre of the real ones.

    sum_c  sqrt( mean_j ||f(s_j) - b_j||^2 ),

where `b` is the free-support barycentre of class c's real features with as many atoms, of equal
weight, as there are synthetic images. A round moves every atom to the mean of the features that an
optimal transport plan of squared distances sends to it. It begins at the synthetic features, so
that each image has its atom whatever extractor a step draws; atoms are constants for the gradient.

Source: Liu et al. 2025, Dataset Distillation via the Wasserstein Metric; Cuturi & Doucet 2014.
Cost: two forward passes of the synthetic and one of the real batch, O(n m (d + iterations)) for
each round of n real and m synthetic images of a class.
Deviations: the barycentre in our matching recipe, anew in every step, on unit features of its
extractor and batch; as published, once, from noise, on the whole class under one teacher, with a
model-inversion recipe (statistics of batch norm, soft labels) that the other methods do not have.
Plans are entropic; one norm a class, not one of all.
Licence: no licence file.
Status: tested; published form not reproducible here: a model inversion by statistics of batch norm.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.metric.kernels import squared_distances_by_products
from csdm_jax.metric.numerics import safe_sqrt
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.fields import Field, integer, number

FIELDS = {
    "wmdd.rounds": Field(5, integer(1, 1000)),
    # Of the entropy, in the mean squared distance of a class's real features from the atoms.
    "wmdd.entropy": Field(0.02, number(0.0, 100.0, open_ends=True)),
    "wmdd.iterations": Field(30, integer(1, 100_000)),
}


def plan(cost: jax.Array, weights: jax.Array, entropy: float, iterations: int) -> jax.Array:
    """Entropic optimal transport to atoms of equal weight, by Sinkhorn's iterations.

    Args:
      cost: `[n, m]`.
      weights: `[n]`, which add up to 1; a row of weight 0 sends nothing.
      entropy: weight of the entropy, in the mean cost.
      iterations: the last one makes every atom receive 1 / m, up to rounding.

    Returns:
      `[n, m]`, non-negative.
    """
    mean = jnp.sum(weights @ cost) / cost.shape[1]
    scaled = -cost / (entropy * jnp.where(mean > 0, mean, 1.0))
    rows = jnp.log(weights)  # -inf for a row that is not there
    column = -jnp.log(jnp.float32(cost.shape[1]))

    def once(_: Any, potentials: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        _, v = potentials
        u = rows - jax.nn.logsumexp(scaled + v[None, :], axis=1)
        return u, column - jax.nn.logsumexp(scaled + u[:, None], axis=0)

    start = jnp.zeros(cost.shape[0]), jnp.zeros(cost.shape[1])
    u, v = jax.lax.fori_loop(0, iterations, once, start)
    return jnp.exp(scaled + u[:, None] + v[None, :])


def barycentre(
    rows: jax.Array,
    weights: jax.Array,
    start: jax.Array,
    rounds: int,
    entropy: float,
    iterations: int,
) -> jax.Array:
    """Atoms of equal weight that stand for a weighted sample.

    Args:
      rows: `[n, d]`.
      weights: `[n]`, which add up to 1.
      start: `[m, d]`, the atoms before the first round.
      rounds: how often they move.
      entropy: see `plan`.
      iterations: see `plan`.

    Returns:
      `[m, d]`.
    """

    def move(_: Any, atoms: jax.Array) -> jax.Array:
        cost = jnp.maximum(squared_distances_by_products(rows, atoms, None), 0.0)
        sent = plan(cost, weights, entropy, iterations)
        return (sent.T @ rows) / jnp.sum(sent, axis=0)[:, None]

    return jax.lax.fori_loop(0, rounds, move, start)


def _padded(side: Ragged) -> tuple[jax.Array, jax.Array]:
    """Rows of each class `[k, n, d]` and their shares `[k, n]`, 0 for padding."""
    assert side.sizes is not None
    sizes = np.array(side.sizes)
    ends = np.cumsum(sizes)[:, None]
    positions = np.minimum((ends - sizes[:, None]) + np.arange(sizes.max()), ends - 1)
    inside = jnp.asarray(np.arange(sizes.max()) < sizes[:, None], jnp.float32)
    weights = inside if side.weights is None else inside * side.weights[positions]
    return side.values[positions], weights / jnp.sum(weights, axis=1, keepdims=True)


def create(config: Any, context: Context) -> Matching:
    """Synthetic features at the atoms of a Wasserstein barycentre of the real ones."""
    own = config.wmdd

    def distance(real: Ragged, synthetic: Ragged, key: jax.Array) -> tuple[jax.Array, dict]:
        del key
        images, _ = _padded(synthetic)  # every class has as many

        def atoms_of(rows: jax.Array, weights: jax.Array, start: jax.Array) -> jax.Array:
            return barycentre(rows, weights, start, own.rounds, own.entropy, own.iterations)

        atoms = jax.vmap(atoms_of)(*jax.lax.stop_gradient((*_padded(real), images)))
        squares = jnp.sum(jnp.square(images - jax.lax.stop_gradient(atoms)), axis=-1)
        roots = safe_sqrt(jnp.mean(squares, axis=1))
        return jnp.sum(roots), {"distance": roots}

    return Matching(config, context, distance)


KIND = kind(create, FIELDS)
