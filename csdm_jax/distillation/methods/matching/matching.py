"""Distribution matching: the recipe that NCFM published and CSDM keeps, for any distance.

    min_S  E_{theta, w} scale * sum_c D_c(f_theta(A_w(R_c)), f_theta(A_w(S_c))) + calibration

One step draws an extractor, a ragged batch of real images (`min(n_c, batch)` of each class) and
one augmentation per class, shared by the real and the synthetic side; all classes, or as many as
`distill.classes_per_step` asks for, go through the network together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from csdm_jax import augment
from csdm_jax.data.device import draw_class_batches
from csdm_jax.distillation.methods.base import (
    Context,
    Inputs,
    Metrics,
    Phase,
    initial_images,
    stored_labels,
)
from csdm_jax.distillation.needs import Pool
from csdm_jax.distillation.updates import Moments, Updates
from csdm_jax.metric import unit_features
from csdm_jax.metric.ragged import Ragged
from csdm_jax.parameterisations import Stored
from csdm_jax.runtime import health
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.training.extractors import draw

NEEDS = (Pool(),)

Distance = Callable[[Ragged, Ragged, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
"""Unit features `[N, d]` of real and synthetic images and a key to (loss, numbers per class)."""


class State(NamedTuple):
    """The synthetic images and the state of their updates."""

    stored: Stored
    moments: Moments


class Matching:
    """A method that matches feature distributions under `distance`.

    Args:
      config: the experiment's configuration.
      context: data, network and parameterisation.
      distance: real and synthetic features and a key to (loss, metrics per class).
    """

    def __init__(self, config: Any, context: Context, distance: Distance):
        self.steps = config.distill.steps
        self.phases = (Phase(self.step, draw=self._draw),)
        self._config = config.distill
        self._context = context
        self._distance = distance
        self._augmentation = augment.Augmentation.parse(
            config.distill.augmentation, mode=config.distill.augmentation_mode
        )
        self._updates = Updates(config.distill, context.parameterisation, context.num_classes)

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:
        """Synthetic images from real ones, and fresh optimiser states."""
        del supplied
        stored = initial_images(self._context, self._config.ipc, key)
        return State(stored, self._updates.init(stored))

    def result(self, state: State) -> DistilledSet:
        """The synthetic images with the label of their class."""
        labels = stored_labels(self._context.num_classes, self._config.ipc)
        return self._context.distilled(state.stored, labels)

    def _draw(self, key: jax.Array) -> Ragged:
        """Which images and classes a step sees."""
        counts, config = self._context.counts, self._config
        batch_key = jax.random.split(key, 4)[1]
        return draw_class_batches(counts, batch_key, config.batch, config.classes_per_step)

    def step(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One update of all synthetic images, or of those of the classes that are drawn."""
        (pool,), batch = inputs.supplied, inputs.batch
        assert batch is not None and batch.classes is not None  # this phase draws
        gradient_of = jax.value_and_grad(self.loss, has_aux=True)
        (loss, metrics), gradient = gradient_of(state.stored, pool, batch, inputs.key)
        stored, moments = self._updates.apply(
            state.stored, gradient, state.moments, loss, batch.classes
        )
        scalars = {
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate_factor": moments.plateau.scale,
        }
        finite = {"pixels": health.finite(state.stored)} | metrics.finite
        finite |= {"gradient": health.finite(gradient), "updated pixels": health.finite(stored)}
        metrics = metrics._replace(loss=loss, scalars=metrics.scalars | scalars, finite=finite)
        return State(stored, moments), metrics

    def _forward(
        self, params: Any, drawn: augment.Draw, side: Ragged, *, gradient: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Logits and features of images under their classes' augmentation.

        Each device forwards its own rows, tile by tile; what is done to the images is done there.

        Args:
          params: of the network.
          drawn: augmentation, one entry a class.
          side: images as stored or in [0, 1].
          gradient: whether the gradient to the images will be taken.
        """
        limit, count = self._config.forward_batch, len(side.values)
        devices = self._context.devices

        def own_rows(everywhere: Any, rows: Any) -> tuple[jax.Array, jax.Array]:
            params, drawn = everywhere

            def prepare(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
                images = self._context.normaliser(tile[0])
                return augment.apply(self._augmentation, drawn.take(tile[1]), images)

            return self._context.network.apply_in_tiles(
                params, rows, limit=limit, gradient=gradient, prepare=prepare
            )

        rows = devices.split_rows((side.values, side.ids))
        logits, features = devices.on_rows(own_rows)((params, drawn), rows)
        return devices.whole_rows(logits, count), devices.whole_rows(features, count)

    def loss(
        self, stored: Stored, pool: Any, batch: Ragged, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """What a step minimises, with its parts.

        Args:
          stored: the synthetic images.
          pool: the extractors.
          batch: real images, uint8, of the classes of the step.
          key: of the step.
        """
        draw_key, _, augment_key, distance_key = jax.random.split(key, 4)
        blended, trained = draw(pool, draw_key)
        classes, count = batch.classes, batch.num_classes
        assert classes is not None
        decoded = self._context.parameterisation.decode(self._updates.of_classes(stored, classes))
        synthetic = Ragged(decoded, (len(decoded) // count,) * count, classes)
        augmentation = augment.draw(
            self._augmentation, augment_key, self._context.num_classes, decoded.shape[1:]
        )
        _, real_features = self._forward(blended, augmentation, batch, gradient=False)
        _, synthetic_features = self._forward(blended, augmentation, synthetic, gradient=True)
        distance, parts = self._distance(
            batch.with_values(unit_features(real_features)),
            synthetic.with_values(unit_features(synthetic_features)),
            distance_key,
        )
        logits, _ = self._forward(trained, augmentation, synthetic, gradient=True)
        calibration = jnp.mean(
            optax.softmax_cross_entropy_with_integer_labels(logits, synthetic.ids)
        )
        # The distance is a sum over classes: a part of them has a part of the calibration.
        share = count / self._context.num_classes
        loss = self._config.loss_scale * distance + share * self._config.calibration * calibration
        finite = {
            "extractor weights": health.finite((blended, trained)),
            "real batch": health.finite(real_features),
        }
        which = {"classes": classes} if self._updates.some_classes else {}
        scalars = {"matching": distance, "calibration": calibration}
        return loss, Metrics(loss, scalars, parts | which, finite)
