"""Distribution matching: the recipe that NCFM published and CSDM keeps, for any distance.

    min_S  E_{theta, w} scale * sum_c D_c(f_theta(A_w(R_c)), f_theta(A_w(S_c))) + calibration

One step draws an extractor, a ragged batch of real images (`min(n_c, batch)` of each class) and
one augmentation per class, shared by the real and the synthetic side; all classes go through the
network together.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment, unit_features
from csdm_jax.data.device import draw_class_batches
from csdm_jax.extractors import draw
from csdm_jax.methods.base import Context, initial_images
from csdm_jax.optimisers import optimiser


@dataclasses.dataclass(frozen=True)
class Features:
    """Unit features of one side, one class after the other, without padding.

    Attributes:
      values: `[N, d]` float32.
      sizes: rows of each class, in order; they add up to N.
    """

    values: jax.Array
    sizes: tuple[int, ...]

    def class_means(self) -> jax.Array:
        """`[C, d]`, the mean feature of each class."""
        classes = np.repeat(np.arange(len(self.sizes)), self.sizes)
        total = jax.ops.segment_sum(self.values, classes, len(self.sizes), indices_are_sorted=True)
        return total / jnp.array(self.sizes, total.dtype)[:, None]


Distance = Callable[[Features, Features, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


class State(NamedTuple):
    """The synthetic images and their optimiser.

    Attributes:
      images: `[C * ipc, H, W, ch]` float32 in [0, 1].
      optimiser: Optax state.
      plateau: state of the learning-rate reduction.
      key: root of the run's randomness; step i uses `fold_in(key, i)`.
    """

    images: jax.Array
    optimiser: Any
    plateau: Any
    key: jax.Array


class Matching:
    """A method that matches feature distributions under `distance`.

    Args:
      config: the experiment's configuration.
      context: data, network, pool and parameterisation.
      distance: real and synthetic features and a key to (loss, metrics per class).
    """

    def __init__(self, config: Any, context: Context, distance: Distance):
        distill = config.distill
        self.steps = distill.steps
        self._config = distill
        self._context = context
        self._distance = distance
        self._augmentation = augment.Augmentation.parse(
            distill.augmentation, mode=distill.augmentation_mode
        )
        self._optimiser = optimiser(
            distill.optimiser,
            distill.learning_rate,
            momentum=distill.momentum,
            weight_decay=distill.weight_decay,
        )
        self._plateau = optax.contrib.reduce_on_plateau(
            factor=distill.plateau_factor,
            patience=distill.plateau_patience,
            accumulation_size=distill.plateau_window,
        )
        self._real_sizes = tuple(min(count, distill.batch) for count in context.data.counts)
        per_class = distill.ipc * context.parameterisation.tiles
        self._synthetic_sizes = (per_class,) * context.num_classes
        self._synthetic_ids = jnp.repeat(jnp.arange(context.num_classes), per_class)
        self.constants = (context.data, context.pool)

    def init(self, key: jax.Array) -> State:
        """Synthetic images from real ones, and fresh optimiser states."""
        init_key, run_key = jax.random.split(key)
        images = initial_images(self._context, self._config.ipc, init_key)
        return State(images, self._optimiser.init(images), self._plateau.init(images), run_key)

    def stored(self, state: State) -> jax.Array:
        """The synthetic images, not decoded."""
        return state.images

    def step(self, state: State, constants: Any, index: jax.Array) -> tuple[State, dict]:
        """One update of all synthetic images."""
        gradient_of = jax.value_and_grad(self._loss, has_aux=True)
        key = jax.random.fold_in(state.key, index)
        (loss, metrics), gradient = gradient_of(state.images, constants, key)
        updates, optimiser_state = self._optimiser.update(gradient, state.optimiser, state.images)
        updates, plateau = self._plateau.update(updates, state.plateau, value=loss)
        images = jnp.clip(optax.apply_updates(state.images, updates), 0.0, 1.0)
        metrics |= {
            "loss": loss,
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate_factor": plateau.scale,
        }
        return State(images, optimiser_state, plateau, state.key), metrics

    def _loss(self, stored: jax.Array, constants: Any, key: jax.Array) -> tuple[jax.Array, dict]:
        data, pool = constants
        draw_key, batch_key, augment_key, distance_key = jax.random.split(key, 4)
        blended, trained = draw(pool, draw_key)
        normalise, network = self._context.normaliser, self._context.network
        pixels, real_ids = draw_class_batches(data, batch_key, self._config.batch)
        real, synthetic = augment.siamese(
            self._augmentation,
            augment_key,
            self._context.num_classes,
            (normalise(pixels), real_ids),
            (normalise(self._context.parameterisation.decode(stored)), self._synthetic_ids),
        )
        forward = functools.partial(network.apply_in_tiles, limit=self._config.forward_batch)
        real_features = jax.lax.stop_gradient(forward(blended, real, gradient=False)[1])
        synthetic_features = forward(blended, synthetic, gradient=True)[1]
        distance, parts = self._distance(
            Features(unit_features(real_features), self._real_sizes),
            Features(unit_features(synthetic_features), self._synthetic_sizes),
            distance_key,
        )
        logits = forward(trained, synthetic, gradient=True)[0]
        calibration = jnp.mean(
            optax.softmax_cross_entropy_with_integer_labels(logits, self._synthetic_ids)
        )
        loss = self._config.loss_scale * distance + self._config.calibration * calibration
        return loss, {**parts, "matching": distance, "calibration": calibration}
