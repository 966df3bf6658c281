"""DREAM: IDC whose real batches are the representatives of clusters.

Of each class's candidates the features are clustered by k-means, as many clusters as
`distill.batch` asks for, and of every cluster the image nearest to its centre is in the batch. It
serves `dream.refresh` rounds, then another one takes its place: it is a view, of a draw of
candidates under one network of the pool, between its initial and its trained weights.

Source: Liu et al. 2023, DREAM: Efficient Dataset Distillation by Representative Matching.
Cost: as `idc`, with a forward pass of the candidates and k-means in every `dream.refresh` rounds;
a batch of every class is held.
Deviations: as `idc`; the features that are clustered are those of a network of the pool, not of
the network in training; `dream.candidates` images of a class, not all. Batches are renewed at a
different round in each class.
Licence: no licence file.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.data.device import draw_of_classes
from csdm_jax.distillation.methods.base import Context, Inputs, Kind, Views
from csdm_jax.distillation.methods.gradients import idc, published
from csdm_jax.distillation.needs import Pool
from csdm_jax.metric.kernels import squared_distances_by_products
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.fields import Field, integer
from csdm_jax.training import extractors

FIELDS = idc.FIELDS | {
    # Rounds that a class's representatives serve, and images of it among which they are sought.
    "dream.refresh": Field(10, integer(1, 1_000_000)),
    "dream.candidates": Field(1024, integer(1, 1_000_000)),
    # Rounds of k-means.
    "dream.iterations": Field(10, integer(1, 10_000)),
}

TIE = 1.001  # squared distances whose ratio is less count as equal


def representatives(
    features: jax.Array, weights: jax.Array, count: int, iterations: int
) -> tuple[jax.Array, jax.Array]:
    """The row nearest to the centre of each cluster, of equally near ones the first.

    k-means (Lloyd 1982) begins at the first rows. A cluster that has no row keeps its centre. With
    as many clusters as rows or more, every row has one.

    Args:
      features: `[n, d]`.
      weights: `[n]`, 1 for a row and 0 for one that only pads; the first is a row.
      count: clusters, 1 to n.
      iterations: rounds, at least 1.

    Returns:
      Positions, int32 `[count]`, and weights `[count]`: 0 for a cluster that has no row. The
      others are different rows.
    """

    def gaps(centres: jax.Array) -> jax.Array:
        return jnp.maximum(squared_distances_by_products(features, centres, None), 0.0)

    def members(centres: jax.Array) -> jax.Array:
        nearest = jnp.argmin(gaps(centres), axis=1)
        return jax.nn.one_hot(nearest, count) * weights[:, None]

    def move(_: Any, centres: jax.Array) -> jax.Array:
        own = members(centres)
        sizes = jnp.sum(own, axis=0)[:, None]
        return jnp.where(sizes > 0, (own.T @ features) / jnp.maximum(sizes, 1.0), centres)

    centres = jax.lax.fori_loop(0, iterations, move, features[:count])
    own = members(centres)
    inside = jnp.where(own > 0, gaps(centres), jnp.inf)
    # Two rows that are a cluster are as far from its centre, but for rounding: the first is taken.
    chosen = jnp.argmax(inside <= TIE * jnp.min(inside, axis=0), axis=0)
    return chosen.astype(jnp.int32), (jnp.sum(own, axis=0) > 0).astype(weights.dtype)


class DREAM(idc.IDC):
    """IDC on representatives."""

    def __init__(self, config: Any, context: Context):
        self._selection = config.dream
        super().__init__(config, context)

    def _draw(self, key: jax.Array, number: jax.Array) -> Ragged:
        """Candidates of the class whose turn it is."""
        label, most = self._label(number), self._selection.candidates
        return draw_of_classes(self._context.counts, key, label[None], most)

    def views(self) -> Views:
        """The representatives of each class, in a place of its own."""
        # Steps take places in turn, as they take classes: `number % C` is both.
        return Views(self._chosen, self._context.num_classes, self._selection.refresh)

    def _chosen(self, inputs: Inputs) -> Ragged:
        """Images of representatives, uint8."""
        batch, (pool,) = inputs.batch, inputs.supplied
        assert batch is not None and batch.weights is not None
        weights, _ = extractors.draw(pool, jax.random.fold_in(inputs.key, 1))
        _, features = self._context.network.apply_in_tiles(
            weights,
            batch.values,
            limit=self._config.forward_batch,
            gradient=False,
            prepare=self._context.normaliser,
        )
        count = min(self._config.batch, len(batch.values))
        positions, counted = representatives(
            features, batch.weights, count, self._selection.iterations
        )
        return Ragged(batch.values[positions], (count,), batch.classes, counted)


def create(config: Any, context: Context) -> DREAM:
    """IDC on real batches that represent their class, one image of every cluster of it."""
    return DREAM(config, context)


PUBLISHED = published.IDC | {
    "distill.initialisation": "kmeans",
    "distill.batch": 128,
    "dream.refresh": 10,
}
KIND = Kind(create, (Pool(),), FIELDS, PUBLISHED)
