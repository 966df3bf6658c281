"""k-means: for each cluster of a class the real image that is nearest to the cluster's centre.

Source: Liu et al. 2023, DREAM: Efficient Dataset Distillation by Representative Matching.
Cost: a forward pass of the training set through every extractor, k-means of every class.
Deviations: DREAM's first images alone, not optimised; features are the mean over the trained
extractors, not those of the network in training; as many clusters as images. With recipe=published
DREAM's mosaics and evaluation, which are IDC's.
Licence: no licence file (DREAM).
Status: tested; published form not reproducible: DREAM optimises what is chosen here, see `dream`.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching.published import MIXED
from csdm_jax.distillation.methods.selection.selection import Selection, kind
from csdm_jax.distillation.needs import Pool
from csdm_jax.distillation.starts import kmeans


def create(config: Any, context: Context) -> Selection:
    """The representatives of each class's k-means clusters."""
    return Selection(config, context, kmeans.images)


PUBLISHED = {name: value for name, value in MIXED.items() if name.startswith("evaluate.")} | {
    "network.width": 128,
    "distill.parameterisation": "mosaic",
    "distill.factor": 2,
    "evaluate.epochs": 1000,
}
KIND = kind(create, Pool(), published=PUBLISHED)
