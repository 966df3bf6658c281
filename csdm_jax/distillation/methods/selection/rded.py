"""RDED: the most realistic crops, relabelled by the extractors.

The crops are those of the start "realism". Each stored image has one soft label: the logits of the
extractors at what it decodes to, their mean over the extractors and over its tiles. Extractors that
give up the tail (`extractors.logit_adjustment` mends that) give it up in these labels, too.

Source: Sun et al. 2024, On the Diversity and Realism of Distilled Dataset (RDED).
Cost: a forward pass of 1500 crops of every class through every extractor; no steps.
Deviations: scored and labelled by the mean over the trained extractors, not by one network; labels
are made once, at the stored images and at temperature 1, where RDED asks the teacher at every step
of the evaluation, at 20; one label for all tiles of a mosaic; evaluated by our protocol, with
recipe=published by RDED's epochs and optimiser of ten images of a class, crops by shifts in place
of random resized ones, and a step in place of its half cosine.
Licence: Apache-2.0.
Status: tested; published form not reproducible: its teacher labels every batch of the evaluation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from csdm_jax.distillation.features import stored_logits
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.selection.selection import Selection, kind
from csdm_jax.distillation.needs import Pool
from csdm_jax.distillation.starts import realism
from csdm_jax.parameterisations import Stored
from csdm_jax.sets.distilled import DistilledSet


class State(NamedTuple):
    """The crops and their labels, float32 `[C * ipc, C]`."""

    stored: Stored
    labels: Any


class RDED(Selection):
    """Crops, chosen by the extractors, with their logits."""

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:  # type: ignore[override]
        """The crops and what the extractors say of them."""
        stored = super().init(key, supplied)
        (pool,) = supplied
        return State(stored, jnp.asarray(stored_logits(self._context, pool, stored)))

    def result(self, state: State) -> DistilledSet:  # type: ignore[override]
        """The crops with their logits."""
        return self._context.distilled(state.stored, state.labels, logits=True)


def create(config: Any, context: Context) -> RDED:
    """Crops that the extractors are surest of, with their soft labels."""
    return RDED(config, context, realism.images)


PUBLISHED = {
    "network.width": 128,
    "distill.parameterisation": "pixels",
    "evaluate.epochs": 300,
    "evaluate.batch": 50,
    "evaluate.optimiser": "adamw",
    "evaluate.learning_rate": 1e-3,
    "evaluate.weight_decay": 0.01,
    "evaluate.decay_at": (0.7,),  # its half cosine falls from 1 to 1/2
    "evaluate.decay": 0.65,
    "evaluate.augmentation": "crop_flip",
    "evaluate.augmentation_mode": "all",
    "evaluate.cutmix": 1.0,
}
KIND = kind(create, Pool(), published=PUBLISHED)
