"""IID: DM with two terms more, that keep a class's features together and their relations right.

    ||mu_R - mu_S||^2 + iid.covariance ||C_R - C_S||_F^2 + iid.compactness sum_i ||g(s_i) - g_c||^2

for every class c: the covariances `C` of the matched features, and the distance of the features
`g(s_i)` that a trained extractor has of the synthetic images from their mean `g_c`. The last sum is
over stored images: of a mosaic, over its tiles, divided by their number.

Source: Deng et al. 2024, Exploiting Inter-sample and Inter-feature Relations in Dataset
Distillation.
Cost: two forward passes of the synthetic and one of the real batch, O(n^2 d) for the metric.
Deviations: the covariance of all features, not of the channels of the last map; `g` is a network of
the pool, where the authors train 1000 ResNets; unit features and weights for these in our recipe,
where recipe=published has raw features and the published weights of the form on DM; the calibration
of our recipe. One joint step for all classes.
Licence: no licence file.
Status: tested; published settings on DM, but for the 1000 ResNets that would be trained first.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import dm, moments
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.fields import Field, number

FIELDS = {
    # The weight 0.01 of raw features, times their mean squared norm, about d / 4 for d = 2048.
    "iid.covariance": Field(5.0, number(0.0, 1e6)),
    # The weight 0.05 of raw features, times the mean squared norm of those of the published `g`, of
    # d = 512, over that of the matched ones.
    "iid.compactness": Field(0.0125, number(0.0, 1e6)),
}


class IID(Matching):
    """DM, covariances, and compact classes."""

    def __init__(self, config: Any, context: Context):
        self._weight = config.iid.compactness / context.parameterisation.tiles
        super().__init__(config, context, moments.distance(config.iid.covariance), moments.kept)

    def compactness(self, features: Ragged) -> jax.Array:
        """Squared distances of all rows from the mean of their class, weighted."""
        rows = moments.moments(features).rows
        assert isinstance(rows, Ragged)
        return self._weight * jnp.sum(jnp.square(rows.values))


def create(config: Any, context: Context) -> IID:
    """DM with the covariance of features, and classes that are compact."""
    return IID(config, context)


PUBLISHED = dm.PUBLISHED | {"iid.covariance": 0.01, "iid.compactness": 0.05}
KIND = kind(create, FIELDS, PUBLISHED)
