"""DC: gradients of real and synthetic images point the same way, row by row of every layer.

The network is trained on the synthetic images between two updates of theirs. Nothing is augmented,
whatever `distill.augmentation` says: with augmentation the method is `dsa`.

Source: Zhao et al. 2021, Dataset Condensation with Gradient Matching.
Cost: for each class two passes of its real batch, padded to that of the largest class, and a
second-order gradient of its synthetic images; `dc.train_steps` steps on synthetic images; memory
grows with the images of one class, not with their number of classes.
Deviations: pixels in [0, 1], clipped, where they are normalised and free; steps of the network's
training, not epochs.
Licence: MIT.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from csdm_jax.distillation.methods.base import Context, Inputs, Kind
from csdm_jax.distillation.methods.gradients import published
from csdm_jax.distillation.methods.gradients.gradients import (
    GradientMatching,
    State,
    cosine_distance,
    fields,
)
from csdm_jax.metric.ragged import Ragged
from csdm_jax.training import online

FIELDS = fields("dc", restart=10, train_steps=50, train_batch=256)


class DC(GradientMatching):
    """Gradients by their direction, on a network that learns the synthetic images."""

    def __init__(self, config: Any, context: Context, *, augmented: bool):
        super().__init__(config, context, cosine_distance, config.dc, augmented=augmented)

    def training_rows(self) -> Callable[[jax.Array], Ragged] | None:
        """None: no real ones."""
        return None

    def training_batch(self, state: State, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        """Different synthetic images, all of them if there are no more."""
        order_key, augment_key = jax.random.split(inputs.key)
        images = self._context.parameterisation.decode(state.stored)
        classes = self._context.num_classes
        rows = online.drawn(order_key, len(images), self._own.train_batch)
        targets = jax.nn.one_hot(rows // (len(images) // classes), classes)
        return self.augmented(augment_key, images[rows]), targets


def create(config: Any, context: Context) -> DC:
    """Gradient matching by cosines, on networks trained on the synthetic images."""
    return DC(config, context, augmented=False)


KIND = Kind(create, fields=FIELDS, published=published.DC)
