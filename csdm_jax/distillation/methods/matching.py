"""Distribution matching: the recipe that NCFM published and CSDM keeps, for any distance.

    min_S  E_{theta, w} scale * sum_c D_c(f_theta(A_w(R_c)), f_theta(A_w(S_c))) + calibration

One step draws an extractor, a ragged batch of real images (`min(n_c, batch)` of each class) and
one augmentation per class, shared by the real and the synthetic side; all classes, or as many as
`distill.classes_per_step` asks for, go through the network together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment
from csdm_jax.data.device import ClassBatches, draw_class_batches
from csdm_jax.data.host import HostData
from csdm_jax.distillation.methods.base import Context, initial_images
from csdm_jax.metric import unit_features
from csdm_jax.runtime import health
from csdm_jax.runtime.stepping import Feed
from csdm_jax.training.extractors import draw
from csdm_jax.training.optimisers import optimiser


@dataclasses.dataclass(frozen=True)
class Features:
    """Unit features of one side, one class after the other.

    Attributes:
      values: `[N, d]` float32.
      sizes: rows of each class, in order; they add up to N.
      classes: int32 `[k]`, which classes these are.
      weights: `[N]` float32, 0 for a row that is not there; None when all are.
    """

    values: jax.Array
    sizes: tuple[int, ...]
    classes: jax.Array
    weights: jax.Array | None = None

    def class_means(self) -> jax.Array:
        """`[k, d]`, the mean feature of each class."""
        weights = jnp.ones(len(self.values)) if self.weights is None else self.weights
        members = np.repeat(np.arange(len(self.sizes)), self.sizes)

        def total(rows: jax.Array) -> jax.Array:
            return jax.ops.segment_sum(rows, members, len(self.sizes), indices_are_sorted=True)

        return total(weights[:, None] * self.values) / total(weights)[:, None]


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
        self._devices = context.devices
        self._tiles = context.parameterisation.tiles
        self._streamed = context.data if isinstance(context.data, HostData) else None
        data = None if self._streamed else context.data
        self.constants = (data, self._devices.copy(context.pool))

    def init(self, key: jax.Array) -> State:
        """Synthetic images from real ones, and fresh optimiser states."""
        init_key, run_key = jax.random.split(key)
        images = initial_images(self._context, self._config.ipc, init_key)
        by_class = jax.vmap(self._optimiser.init)(self._by_class(images))
        moments = by_class if self._some_classes else self._optimiser.init(images)
        return State(images, moments, self._plateau.init(images), run_key)

    def stored(self, state: State) -> jax.Array:
        """The synthetic images, not decoded."""
        return state.images

    def feed(self, state: State) -> Feed | None:
        """For images that stay on the host: what reads a step's batch; None when they do not."""
        if self._streamed is None:
            return None
        host, key_data = self._streamed, jnp.array(jax.random.key_data(state.key), copy=True)
        rows_of = jax.jit(lambda index: self._draw(jax.random.wrap_key_data(key_data), index)[0])

        def batch(index: int) -> jax.Array:
            return jnp.asarray(host.take(np.asarray(rows_of(np.int32(index)))))

        return batch

    def _draw(self, key: jax.Array, index: jax.Array) -> ClassBatches:
        """Which images and classes step `index` sees."""
        batch_key = jax.random.split(jax.random.fold_in(key, index), 4)[1]
        config = self._config
        counts = self._context.data.counts
        return draw_class_batches(counts, batch_key, config.batch, config.classes_per_step)

    def step(self, state: State, constants: Any, index: jax.Array) -> tuple[State, dict]:
        """One update of all synthetic images, or of those of the classes that are drawn."""
        constants, pixels = constants if self._streamed else (constants, None)
        data, pool = constants
        drawn = self._draw(state.key, index)
        pixels = data.images[drawn.rows] if pixels is None else pixels
        key = jax.random.fold_in(state.key, index)
        gradient_of = jax.value_and_grad(self._loss, has_aux=True)
        (loss, metrics), gradient = gradient_of(state.images, pool, drawn, pixels, key)
        finite_inputs = {"pixels": health.finite(state.images)} | metrics.pop("finite")
        update = self._update_some if self._some_classes else self._update_all
        images, optimiser_state, plateau = update(state, gradient, loss, drawn.classes)
        metrics |= {
            "loss": loss,
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate_factor": plateau.scale,
            "finite": finite_inputs
            | {"loss": health.finite(loss), "gradient": health.finite(gradient)}
            | {"updated pixels": health.finite(images)},
        }
        copies = self._devices.copy_inside
        optimiser_state, plateau = copies((optimiser_state, plateau))
        return State(copies(images), optimiser_state, plateau, state.key), copies(metrics)

    def _update_all(
        self, state: State, gradient: jax.Array, loss: jax.Array, classes: jax.Array
    ) -> tuple[jax.Array, Any, Any]:
        del classes
        updates, moments = self._optimiser.update(gradient, state.optimiser, state.images)
        updates, plateau = self._plateau.update(updates, state.plateau, value=loss)
        return jnp.clip(optax.apply_updates(state.images, updates), 0.0, 1.0), moments, plateau

    def _update_some(
        self, state: State, gradient: jax.Array, loss: jax.Array, classes: jax.Array
    ) -> tuple[jax.Array, Any, Any]:
        """Each class has an optimiser of its own, which only a step that draws it advances.

        The learning rate is not reduced: losses of different classes say nothing of a plateau.
        """
        del loss
        images = self._by_class(state.images)
        updates, moments = jax.vmap(self._optimiser.update)(
            self._by_class(gradient), state.optimiser, images
        )
        moved = jnp.clip(images + updates, 0.0, 1.0)
        chosen = jnp.zeros(len(images), bool).at[classes].set(True)

        def pick(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(chosen.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        moved, moments = jax.tree.map(pick, (moved, moments), (images, state.optimiser))
        return moved.reshape(state.images.shape), moments, state.plateau

    def _by_class(self, stored: jax.Array) -> jax.Array:
        """`[C, ipc, H, W, ch]`."""
        return stored.reshape(self._context.num_classes, self._config.ipc, *stored.shape[1:])

    @property
    def _some_classes(self) -> bool:
        return self._config.classes_per_step not in (0, self._context.num_classes)

    def _decoded(self, stored: jax.Array, classes: jax.Array) -> jax.Array:
        """The synthetic images of some classes as the network sees them, in [0, 1]."""
        if self._some_classes:
            stored = self._by_class(stored)[classes].reshape(-1, *stored.shape[1:])
        return self._context.parameterisation.decode(stored)

    def _forward(
        self, params: Any, drawn: augment.Draw, side: tuple[jax.Array, jax.Array], *, gradient: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Logits and features of images under their classes' augmentation.

        Each device forwards its own rows, tile by tile; what is done to the images is done there.

        Args:
          params: of the network.
          drawn: augmentation, one entry a class.
          side: images as stored or in [0, 1], and their classes.
          gradient: whether the gradient to the images will be taken.
        """
        limit, count = self._config.forward_batch, len(side[0])

        def own_rows(everywhere: Any, rows: Any) -> tuple[jax.Array, jax.Array]:
            params, drawn = everywhere

            def prepare(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
                images = self._context.normaliser(tile[0])
                return augment.apply(self._augmentation, drawn.take(tile[1]), images)

            return self._context.network.apply_in_tiles(
                params, rows, limit=limit, gradient=gradient, prepare=prepare
            )

        rows = self._devices.split_rows(side)
        logits, features = self._devices.on_rows(own_rows)((params, drawn), rows)
        whole = self._devices.whole_rows
        return whole(logits, count), whole(features, count)

    def _loss(
        self, stored: jax.Array, pool: Any, drawn: ClassBatches, pixels: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict]:
        draw_key, _, augment_key, distance_key = jax.random.split(key, 4)
        blended, trained = draw(pool, draw_key)
        classes = drawn.classes
        sizes = (self._config.ipc * self._tiles,) * len(classes)
        ids = jnp.repeat(classes, sizes[0], total_repeat_length=sum(sizes))
        decoded = self._decoded(stored, classes)
        augmentation = augment.draw(
            self._augmentation, augment_key, self._context.num_classes, decoded.shape[1:]
        )
        real, synthetic = (pixels, drawn.ids), (decoded, ids)
        _, real_features = self._forward(blended, augmentation, real, gradient=False)
        _, synthetic_features = self._forward(blended, augmentation, synthetic, gradient=True)
        distance, parts = self._distance(
            Features(unit_features(real_features), drawn.sizes, classes, drawn.weights),
            Features(unit_features(synthetic_features), sizes, classes),
            distance_key,
        )
        logits, _ = self._forward(trained, augmentation, synthetic, gradient=True)
        calibration = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, ids))
        # The distance is a sum over classes: a part of them has a part of the calibration.
        share = len(classes) / self._context.num_classes
        loss = self._config.loss_scale * distance + share * self._config.calibration * calibration
        finite = {
            "extractor weights": health.finite((blended, trained)),
            "real batch": health.finite(real_features),
        }
        which = {"classes": classes} if self._some_classes else {}
        return loss, parts | which | {
            "matching": distance,
            "calibration": calibration,
            "finite": finite,
        }
