"""A queue of networks that are trained while images are distilled (IDM).

A step matches and calibrates by one network of the queue, in the state that its training has
reached; the calibration counts as far as that network is right on its training images. A phase
of its own then trains `idm.trained` networks of the queue on real images, `idm.train_steps` steps
each; every `idm.interval` rounds a fresh network takes the place of the oldest. The queue, with
moments and accuracies, is part of the state, `idm.queue` networks twice.

A network's accuracy is a moving average over its batches, not since the last evaluation.

Source: Zhao et al. 2023, Improved Distribution Matching for Dataset Condensation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from csdm_jax.data.device import draw_any
from csdm_jax.distillation.methods.base import Context, Inputs, Metrics, Phase
from csdm_jax.distillation.methods.matching.schedule import Schedule
from csdm_jax.metric.ragged import Ragged
from csdm_jax.networks import Params
from csdm_jax.runtime import health
from csdm_jax.runtime.fields import RATE, Field, integer
from csdm_jax.training import online
from csdm_jax.training.optimisers import optimiser

FIELDS = {
    # Networks in the queue; it begins with `idm.first`.
    "idm.queue": Field(10, integer(1, 10_000)),
    "idm.first": Field(3, integer(1, 10_000)),
    "idm.interval": Field(30, integer(1, 1_000_000)),
    "idm.trained": Field(2, integer(1, 100)),
    "idm.train_steps": Field(10, integer(1, 10_000)),
    "idm.batch": Field(256, integer(1, 1_000_000)),
    "idm.learning_rate": Field(0.01, RATE),
}
DECAY = 0.9  # of the accuracies


class Queue(NamedTuple):
    """Networks under training, Q places each.

    Attributes:
      weights: of the networks, with a leading axis of Q.
      moments: of their optimisers, likewise.
      accuracies: `[Q]`, how much of its batches each is right about; 0 before any training.
      pushed: int32 scalar, how many networks have been put in; place i holds the last one whose
        number is i modulo Q.
      key_data: decides which networks are trained.
    """

    weights: Params
    moments: Any
    accuracies: jax.Array
    pushed: jax.Array
    key_data: jax.Array


class Online(Schedule):
    """Networks of the queue, and their training."""

    needs = ()
    changes = True
    fields = FIELDS

    def __init__(self, config: Any, context: Context):
        super().__init__(config, context)
        self._own = config.idm
        # As published: momentum 0.9, weight decay 5e-4.
        self._training = optimiser("sgd", config.idm.learning_rate, momentum=0.9, weight_decay=5e-4)
        times = config.idm.trained * config.idm.train_steps
        self.phases = (Phase(self.train, times=times, draw=self._any_rows),)

    def begin(self, key: jax.Array) -> Queue:
        """A queue of fresh networks; those beyond the first few are not in use yet."""
        init_key, train_key = jax.random.split(key)
        size = self._own.queue
        weights = jax.vmap(self._context.network.init)(jax.random.split(init_key, size))
        return Queue(
            weights,
            jax.vmap(self._training.init)(weights),
            jnp.zeros(size),
            jnp.int32(min(self._own.first, size)),
            jax.random.key_data(train_key),
        )

    def _one_of(self, queue: Queue, key: jax.Array) -> jax.Array:
        """The place of a network in use."""
        return jax.random.randint(key, (), 0, jnp.minimum(queue.pushed, self._own.queue))

    def draw(
        self, supplied: tuple[Any, ...], queue: Queue, key: jax.Array
    ) -> tuple[Params, Params]:
        """One network of the queue, for both."""
        del supplied
        place = self._one_of(queue, key)
        own = jax.tree.map(lambda leaf: leaf[place], queue.weights)
        return own, own

    def trust(self, queue: Queue, key: jax.Array) -> jax.Array:
        """How much of its training batches that network is right about."""
        return queue.accuracies[self._one_of(queue, key)]

    def _any_rows(self, key: jax.Array) -> Ragged:
        """A batch for the training, of all images alike."""
        return draw_any(len(self._context.host), key, self._own.batch)

    def train(self, state: Any, inputs: Inputs) -> tuple[Any, Metrics]:
        """One step of one network's training; the first of some rounds puts in a fresh one."""
        assert inputs.batch is not None
        queue = self._pushed(state.queue, inputs.number)
        turn = inputs.number // self._own.train_steps
        choice_key = jax.random.fold_in(jax.random.wrap_key_data(queue.key_data), turn)
        place = self._one_of(queue, choice_key)
        weights, moments = jax.tree.map(lambda leaf: leaf[place], (queue.weights, queue.moments))
        labels = jnp.asarray(self._context.host.labels)[self._any_rows(inputs.key).values]
        images = self._context.normaliser(inputs.batch.values)
        targets = jax.nn.one_hot(labels, self._context.num_classes)
        trained, value, right = online.step(
            self._context.network, self._training, online.Trained(weights, moments), images, targets
        )
        accuracy = DECAY * queue.accuracies[place] + (1 - DECAY) * right
        queue = _put(queue, place, trained, accuracy)
        scalars = {"queue_loss": value, "queue_accuracy": accuracy, "queue_pushed": queue.pushed}
        finite = {"network of the queue": health.finite(trained.weights)}
        return state._replace(queue=queue), Metrics(value, scalars, {}, finite)

    def _pushed(self, queue: Queue, number: jax.Array) -> Queue:
        """The queue with a fresh network in it, where this step of the training brings one."""
        every = self._own.interval * self._own.trained * self._own.train_steps

        def push() -> Queue:
            key = jax.random.wrap_key_data(queue.key_data)
            key = jax.random.fold_in(jax.random.fold_in(key, queue.pushed), 1)
            fresh = online.begin(self._context.network.init(key), self._training)
            place = queue.pushed % self._own.queue
            begun = _put(queue, place, fresh, jnp.float32(0))
            return begun._replace(pushed=queue.pushed + 1)

        return jax.lax.cond(number % every == 0, push, lambda: queue)


def _put(queue: Queue, place: jax.Array, trained: online.Trained, accuracy: jax.Array) -> Queue:
    """The queue with another network in one place."""
    whole = (online.Trained(queue.weights, queue.moments), queue.accuracies)
    (weights, moments), accuracies = online.placed(whole, place, (trained, accuracy))
    return queue._replace(weights=weights, moments=moments, accuracies=accuracies)
