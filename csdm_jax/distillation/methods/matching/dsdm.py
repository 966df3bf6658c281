"""DSDM: means and covariances of features, and an anchor in the history of the means.

    ||mu_R - mu_S||^2 + dsdm.covariance ||C_R - C_S||_F^2 + dsdm.anchor ||mu_S - h||^2

for every class, where h is a moving average of the class's synthetic means over the steps before,
each of another extractor. It is part of the state, and counts after `dsdm.anchor_after` steps.

Source: Li et al. 2024, Diversified Semantic Distribution Matching for Dataset Distillation.
Cost: two forward passes of the synthetic and one of the real batch, O(n^2 d) for the metric.
Deviations: unit features of blended extractors, weights for these, and the calibration in our
recipe; with recipe=published raw features of trained extractors and the published weights, which
are divided by d = 2048. The learning rate that grows with the images of a class is the one of ten.
One joint step for all classes. The average begins with the first mean.
Licence: no licence file.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import moments
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.distillation.methods.matching.published import MIXED
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.fields import Field, integer, number

DECAY = 0.99  # of the moving average
FIELDS = {
    # The weight 50 / d of raw features, times their mean squared norm, about d / 4 for d = 2048.
    "dsdm.covariance": Field(12.5, number(0.0, 1e6)),
    "dsdm.anchor": Field(1e-4, number(0.0, 1e6)),
    "dsdm.anchor_after": Field(2000, integer(0, 10_000_000)),
}


class History(NamedTuple):
    """What is remembered of the synthetic means.

    Attributes:
      anchor: `[C, d]`, their moving averages.
      seen: int32 `[C]`, how many means each is of.
      steps: int32 scalar, steps done.
    """

    anchor: jax.Array
    seen: jax.Array
    steps: jax.Array


class DSDM(Matching):
    """Means, covariances and the anchor."""

    def __init__(self, config: Any, context: Context):
        self._own, self._classes = config.dsdm, context.num_classes
        self._dim = context.network.feature_dim
        super().__init__(config, context, moments.distance(config.dsdm.covariance), moments.kept)

    def memory(self, key: jax.Array, supplied: tuple[Any, ...]) -> History:
        """No mean has been seen."""
        del key, supplied
        none = jnp.zeros(self._classes, jnp.int32)
        return History(jnp.zeros((self._classes, self._dim)), none, jnp.int32(0))

    def compare(
        self, real: Any, synthetic: Ragged, key: jax.Array, memory: History
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The distance, and how far the means are from their anchor."""
        loss, parts = super().compare(real, synthetic, key, memory)
        assert synthetic.classes is not None
        own = jnp.arange(self._classes)[synthetic.classes]
        gaps = jnp.sum(jnp.square(synthetic.means() - memory.anchor[own]), axis=-1)
        counts = (memory.steps >= self._own.anchor_after) & (memory.seen[own] > 0)
        gaps = jnp.where(counts, gaps, 0.0)
        return loss + self._own.anchor * jnp.sum(gaps), parts | {"from_anchor": gaps}

    def remember(self, memory: History, synthetic: Ragged) -> History:
        """The averages with the means of this step."""
        assert synthetic.classes is not None
        own = synthetic.classes
        before, seen = memory.anchor[own], memory.seen[own]
        means = synthetic.means()
        moved = jnp.where(seen[:, None] > 0, DECAY * before + (1 - DECAY) * means, means)
        return History(
            memory.anchor.at[own].set(moved), memory.seen.at[own].add(1), memory.steps + 1
        )


def create(config: Any, context: Context) -> DSDM:
    """Means and covariances of features, and an anchor in the history of the means."""
    return DSDM(config, context)


PUBLISHED = MIXED | {
    "extractors.count": 10,
    "extractors.epochs": 20,
    "distill.steps": 10_000,
    "distill.batch": 256,
    "distill.learning_rate": 0.1,
    "distill.extractor": "trained",
    "distill.loss_scale": 1.0,
    "distill.calibration": 0.0,
    "dsdm.covariance": 50 / 2048,
    "dsdm.anchor": 0.2 / 2048,
    "evaluate.epochs": 1500,
}
KIND = kind(create, FIELDS, PUBLISHED)
