"""A second stage of training, on classes in equal parts: the backbone stays, the classifier moves.

An epoch is as many images as every class would have if all were as large as the largest; each batch
has as many of every class, drawn with replacement.

Source: Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed Recognition;
Zhao et al. 2025 (LAD), for experts.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment
from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.networks import Params, last_layer
from csdm_jax.runtime import health, interruption
from csdm_jax.runtime.seeds import root_key
from csdm_jax.runtime.stepping import Feed, Stepper
from csdm_jax.training.trainer import Trainer


class SecondStage:
    """Training of the last layer alone, on as many images of every class.

    Args:
      trainer: its network, batch and augmentation.
      data: the training set.
      epochs: at least 1.
      learning_rate: of plain descent.
      seed: what is drawn for network k is a pure function of (seed, k).
    """

    def __init__(
        self,
        trainer: Trainer,
        data: DeviceData | HostData,
        *,
        epochs: int,
        learning_rate: float,
        seed: int,
    ):
        self._trainer, self._data = trainer, data
        self._epochs, self._rate, self._seed = epochs, learning_rate, seed
        counts = np.asarray(data.counts)
        self._each = max(1, trainer.recipe.batch // len(counts))
        self._steps = -(-int(counts.max()) // self._each)
        self._last = last_layer(trainer.network)
        self._stepper = Stepper(self._step)

    def fit(self, number: int, params: Params, label: str) -> list[Params]:
        """Weights on the host after each epoch.

        Args:
          number: of the network.
          params: its weights after the first stage.
          label: its name in errors.

        Raises:
          FloatingPointError: when a loss or a weight is no longer finite.
          Interrupted: when a signal asked for the end.
        """
        key = jax.random.fold_in(root_key("classifiers", self._seed), number)
        params = jax.tree.map(jnp.array, params)  # the stepper gives its arrays away
        streamed = isinstance(self._data, HostData)
        images = None if isinstance(self._data, HostData) else self._data.images
        feed = self._feed(key) if streamed else None
        found = []
        for epoch in range(self._epochs):
            interruption.check(f"in the second stage of {label}")
            first = epoch * self._steps
            params, losses = self._stepper(params, (images, key), first, self._steps, feed=feed)
            found.append(jax.device_get(params))
            if not (np.isfinite(losses).all() and health.finite_now(found[-1])):
                raise FloatingPointError(
                    f"{label}: its second stage is not finite after epoch {epoch + 1}: lower its "
                    "learning rate"
                )
        return found

    def _rows(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Which images a step sees, class by class: int32 `[C * each]`."""
        counts = np.repeat(np.asarray(self._data.counts), self._each)
        first = np.repeat(np.cumsum(self._data.counts) - self._data.counts, self._each)
        own_key = jax.random.fold_in(jax.random.fold_in(key, index), 0)
        return jnp.asarray(first) + jax.random.randint(own_key, counts.shape, 0, counts)

    def _feed(self, key: jax.Array) -> Feed:
        rows_of = jax.jit(lambda index: self._rows(key, index))

        def images(index: int) -> jax.Array:
            assert isinstance(self._data, HostData)
            return jnp.asarray(self._data.take(np.asarray(rows_of(np.int32(index)))))

        return images

    def _step(self, params: Params, given: Any, index: jax.Array) -> tuple[Params, jax.Array]:
        recipe = self._trainer.recipe
        (images, key), pixels = given if isinstance(self._data, HostData) else (given, None)
        batch = images[self._rows(key, index)] if pixels is None else pixels
        batch = self._trainer.normaliser(batch)
        own_key = jax.random.fold_in(jax.random.fold_in(key, index), 1)
        batch = augment.augment_each(recipe.augmentation, own_key, batch)
        labels = np.repeat(np.arange(len(self._data.counts)), self._each)

        def loss_of(params: Params) -> jax.Array:
            logits, _ = self._trainer.network.apply(params, batch)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

        loss, gradient = jax.value_and_grad(loss_of)(params)
        moved = jax.tree.map(
            lambda w, g, own: w - self._rate * g if own else w,
            params,
            gradient,
            self._last,
        )
        return moved, loss
