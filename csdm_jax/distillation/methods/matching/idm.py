"""IDM: DM on a queue of networks that are trained while images are distilled.

It is `dm` under the schedule of extractors "queue": a step matches the class means of one network
of the queue and calibrates by the same network, as far as it is right on its training images. See
`csdm_jax.distillation.methods.matching.queue`.

Source: Zhao et al. 2023, Improved Distribution Matching for Dataset Condensation.
Cost: two forward passes of the synthetic and one of the real batch, O(n d) for the metric;
`idm.trained` times `idm.train_steps` steps of training; `idm.queue` networks twice in the state.
Deviations: unit features and the weight of the calibration in our recipe, where recipe=published
has raw features; there the published weight 0.5 stands for an accuracy in percent. A network's
accuracy is a moving average over its batches, not since the last evaluation. One joint step for all
classes. A batch is drawn in every step, whatever `distill.view_uses`; `distill.extractor` changes
nothing.
Licence: no licence file.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import dm
from csdm_jax.distillation.methods.matching.matching import Matching, kind

SCHEDULE = "queue"


def create(config: Any, context: Context) -> Matching:
    """DM on a queue of networks, trained on the way, that calibrate as far as they are right."""
    return Matching(config, context, dm.linear_mmd, dm.means, schedule=SCHEDULE)


PUBLISHED = dm.PUBLISHED | {
    "distill.parameterisation": "mosaic",
    "distill.factor": 2,
    "distill.learning_rate": 0.008,  # 0.2 for normalised pixels, see `dm`
    "distill.calibration": 50.0,  # 0.5 for each percent of accuracy
    "idm.queue": 100,
}
KIND = kind(create, published=PUBLISHED, schedule=SCHEDULE)
