"""IDC: gradients to the convolutions agree, on networks that are trained on real images.

Squared errors, not cosines; the network learns real images, with CutMix, between two updates of the
synthetic ones. Images are stored as mosaics where `distill.parameterisation` says so, as published.

Source: Kim et al. 2022, Dataset Condensation via Efficient Synthetic-Data Parameterization.
Cost: for each class two passes of its real batch, padded to that of the largest class, and a
second-order gradient of its synthetic images; `idc.train_steps` steps on real images; memory grows
with the images of one class, not with their number of classes.
Deviations: one joint step for all classes, where the published code steps class by class, on one
optimiser; all synthetic images of a class in a step, where it takes at most 128 of them; squared
errors for images of every size, where it has absolute ones for large images.
Licence: MIT.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax import augment
from csdm_jax.data.device import draw_any
from csdm_jax.distillation.methods.base import Context, Inputs, Kind
from csdm_jax.distillation.methods.gradients import published
from csdm_jax.distillation.methods.gradients.gradients import (
    GradientMatching,
    State,
    fields,
    has_kernels,
    squared_distance,
)
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.fields import UNIT, Field

FIELDS = fields("idc", restart=100, train_steps=31, train_batch=64) | {
    # Probability of CutMix in a step of the network's training.
    "idc.cutmix": Field(0.5, UNIT),
}


class IDC(GradientMatching):
    """Gradients by their squared error, on a network that learns real images.

    Raises:
      ValueError: for a network without convolutions, whose gradients would not count.
    """

    def __init__(self, config: Any, context: Context):
        weights = jax.eval_shape(context.network.init, jax.random.key(0))
        if not has_kernels(weights):
            raise ValueError(
                "idc and dream match gradients to the kernels of convolutions, and the network "
                f"{context.network.name!r} has none: choose network.name=convnet, or the method dsa"
            )
        # As published: momentum 0.9, weight decay 5e-4.
        super().__init__(
            config, context, squared_distance, config.idc, momentum=0.9, weight_decay=5e-4
        )

    def training_rows(self) -> Callable[[jax.Array], Ragged]:
        """Of the long-tailed set, all images alike."""
        return lambda key: draw_any(len(self._context.host), key, self._own.train_batch)

    def training_batch(self, state: State, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        """Those images, with CutMix."""
        assert inputs.batch is not None
        augment_key, mix_key = jax.random.split(jax.random.fold_in(inputs.key, 1))
        rows = self.training_rows()(inputs.key).values
        labels = jnp.asarray(self._context.host.labels)[rows]
        targets = jax.nn.one_hot(labels, self._context.num_classes)
        images = self.augmented(augment_key, inputs.batch.values)
        return augment.cutmix(mix_key, images, targets, self._own.cutmix)


def create(config: Any, context: Context) -> IDC:
    """Gradient matching by squared errors, on networks trained on the real images."""
    return IDC(config, context)


KIND = Kind(create, fields=FIELDS, published=published.IDC)
