"""A toy method of each family that has no small one of its own, as the interface allows."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax.data.device import draw_class_batches
from csdm_jax.distillation.methods.base import (
    Context,
    Inputs,
    Kind,
    Metrics,
    Phase,
    initial_images,
    stored_labels,
)
from csdm_jax.distillation.needs import Pool, Teacher, Untrained
from csdm_jax.distillation.starts.base import real_images
from csdm_jax.distillation.updates import Updates
from csdm_jax.metric import unit_features
from csdm_jax.metric.ragged import Ragged


class State(NamedTuple):
    """What is stored, its moments, and whatever else a method learns."""

    stored: Any
    moments: Any
    more: Any = ()


class Toy:
    """What the toys share: a batch of every class, images with their updates, hard labels."""

    def __init__(self, config: Any, context: Context):
        self.config, self.context = config.distill, context
        self.steps = config.distill.steps
        self.updates = Updates(config.distill, context.parameterisation, context.num_classes)
        self.labels = stored_labels(context.num_classes, config.distill.ipc)
        self.phases: tuple[Phase, ...] = (Phase(self.step, draw=self.draw),)

    def init(self, key: jax.Array, supplied: tuple) -> State:
        stored = initial_images(self.context, self.config.ipc, key, supplied)
        return State(stored, self.updates.init(stored), self.begin(supplied))

    def begin(self, supplied: tuple) -> Any:
        return ()

    def result(self, state: State) -> Any:
        return self.context.distilled(state.stored, self.labels)

    def draw(self, key: jax.Array) -> Ragged:
        config = self.config
        return draw_class_batches(self.context.counts, key, config.batch, config.classes_per_step)

    def synthetic(self, stored: Any, classes: jax.Array) -> Ragged:
        decoded = self.context.parameterisation.decode(self.updates.of_classes(stored, classes))
        return Ragged(decoded, (len(decoded) // len(classes),) * len(classes), classes)

    def apply(self, params: Any, side: Ragged) -> tuple[jax.Array, jax.Array]:
        return self.context.network.apply(params, self.context.normaliser(side.values))

    def ce(self, params: Any, side: Ragged) -> jax.Array:
        logits = self.apply(params, side)[0]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, side.ids)
        return jnp.mean(side.with_values(losses[:, None]).means())

    def distance(self, stored: Any, params: Any, batch: Ragged) -> jax.Array:
        sides = batch, self.synthetic(stored, batch.classes)
        real, synthetic = (s.with_values(self.apply(params, s)[1]).means() for s in sides)
        return jnp.sum((real - synthetic) ** 2)

    def moved(self, state: State, inputs: Inputs, loss: Any, more: Any = None) -> tuple:
        value, gradient = jax.value_and_grad(loss)(state.stored)
        stored, moments = self.updates.apply(
            state.stored, gradient, state.moments, value, inputs.batch.classes
        )
        more = state.more if more is None else more
        return State(stored, moments, more), Metrics(value, {}, {}, {})

    def step(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        raise AssertionError("a toy has a step of its own")


class Nearest(Toy):
    """Selection: the images next to their class's mean feature under the pool."""

    steps = 0

    def __init__(self, config, context):
        super().__init__(config, context)
        self.steps, self.phases = 0, ()

    def init(self, key, supplied):
        (pool,), host = supplied, self.context.host
        images = self.context.normaliser(jnp.asarray(host.take(np.arange(len(host)))))
        networks = [jax.tree.map(lambda x, k=k: x[k], pool.trained) for k in range(pool.size)]
        apply = jax.jit(self.context.network.apply)
        features = np.mean([apply(params, images)[1] for params in networks], axis=0)
        chosen, first = [], 0
        for count in host.counts:
            own = features[first : first + count]
            nearest = first + np.argsort(((own - own.mean(0)) ** 2).sum(1))
            chosen.append(np.resize(nearest, self.config.ipc * self.context.parameterisation.tiles))
            first += count
        images = real_images(self.context, np.concatenate(chosen))
        return State(self.context.encode(images), ())


class Means(Toy):
    """Distribution matching on networks that nobody trains."""

    def step(self, state, inputs):
        (networks,) = inputs.supplied
        which = jax.random.randint(inputs.key, (), 0, 2)
        params = jax.tree.map(lambda leaf: leaf[which], networks)
        return self.moved(state, inputs, lambda s: self.distance(s, params, inputs.batch))


class Gradients(Toy):
    """Gradient matching: an inner network, trained between image steps and set back."""

    def __init__(self, config, context):
        super().__init__(config, context)
        self.phases = (Phase(self.step, draw=self.draw), Phase(self.train, times=3, draw=self.draw))

    def begin(self, supplied):
        return jax.tree.map(lambda leaf: leaf[0], supplied[0])

    def step(self, state, inputs):
        real = jax.lax.stop_gradient(jax.grad(self.ce)(state.more, inputs.batch))

        def loss(stored):
            own = jax.grad(self.ce)(state.more, self.synthetic(stored, inputs.batch.classes))
            return sum(map(lambda a, b: jnp.sum((a - b) ** 2), *map(jax.tree.leaves, (own, real))))

        return self.moved(state, inputs, loss)

    def train(self, state, inputs):
        start = self.begin(inputs.supplied)
        reset = inputs.number % 6 == 0  # every second round
        params = jax.tree.map(lambda a, b: jnp.where(reset, a, b), start, state.more)
        side = self.synthetic(state.stored, inputs.batch.classes)
        loss, gradient = jax.value_and_grad(self.ce)(params, side)
        params = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient)
        return state._replace(more=params), Metrics(loss, {"inner_loss": loss}, {}, {})


class Ridge(Toy):
    """Kernel ridge regression on features of networks that are trained on the way."""

    def __init__(self, config, context):
        super().__init__(config, context)
        self.phases = (Phase(self.step, draw=self.draw), Phase(self.train, draw=self.draw))

    def begin(self, supplied):
        labels = jax.nn.one_hot(self.labels, self.context.num_classes) - 0.1
        return {"labels": labels, "networks": supplied[0]}

    def result(self, state):
        return self.context.distilled(state.stored, state.more["labels"], logits=True)

    def step(self, state, inputs):
        params = jax.tree.map(lambda leaf: leaf[0], state.more["networks"])
        everything = self.context.parameterisation.decode(state.stored)
        labels = jnp.repeat(state.more["labels"], len(everything) // len(self.labels), 0)
        truth = jax.nn.one_hot(inputs.batch.ids, self.context.num_classes)
        real = unit_features(self.apply(params, inputs.batch)[1])

        def loss(stored):
            images = self.context.parameterisation.decode(stored)
            own = self.context.network.apply(params, self.context.normaliser(images))[1]
            own = unit_features(own)
            gram = own @ own.T + 0.1 * jnp.eye(len(own))
            predicted = real @ own.T @ jax.scipy.sparse.linalg.cg(
                lambda x: gram @ x, labels, maxiter=20)[0]  # fmt: skip
            return jnp.mean((predicted - truth) ** 2)

        return self.moved(state, inputs, loss)

    def train(self, state, inputs):
        def loss(networks):
            params = jax.tree.map(lambda leaf: leaf[0], networks)
            return self.ce(params, self.synthetic(state.stored, inputs.batch.classes))

        value, gradient = jax.value_and_grad(loss)(state.more["networks"])
        networks = jax.tree.map(lambda p, g: p - 0.01 * g, state.more["networks"], gradient)
        more = state.more | {"networks": networks}
        return state._replace(more=more), Metrics(value, {"network_loss": value}, {}, {})


class Recovery(Toy):
    """Decoupled recovery: a teacher's statistics, and its answers as labels."""

    def begin(self, supplied):
        return {"labels": jnp.zeros((len(self.labels), self.context.num_classes))}

    def result(self, state):
        return self.context.distilled(state.stored, state.more["labels"], logits=True)

    def step(self, state, inputs):
        (teacher,) = inputs.supplied
        images = self.context.parameterisation.decode(state.stored)
        logits = self.context.network.apply(teacher, self.context.normaliser(images))[0]
        answers = logits.reshape(len(self.labels), -1, self.context.num_classes).mean(1)
        return self.moved(
            state,
            inputs,
            lambda s: self.distance(s, teacher, inputs.batch),
            more={"labels": answers},
        )


GRADIENT_MATCHING = ("dc", "dcc", "dream", "dsa", "dsac", "idc")
"""The family of `toy_gradients`: their losses and runs are tested in test_gradient_matching."""
DECOUPLED = ("frepo", "gvbsm", "rldd")
"""Kernel ridge and recovery: their losses and runs are tested in test_ridge and test_recovery."""
ALIKE = ("dc", "dcc", "dsa", "idc")
"""Those of it whose steps do nothing that `dsac` and `dream` do not."""
DISTANCES = (
    "cafe", "dance", "datadam", "dsdm", "idm", "iid", "m3d", "ncfm_sampler", "tgdd", "wmdd",
)  # fmt: skip
"""Other distances in the loop of `dm`: their losses and runs are tested in test_rivals."""
RIVALS = (*DISTANCES, *GRADIENT_MATCHING, *DECOUPLED)
OF_EXPERTS = ("att", "datm", "ftd", "lad", "mtt", "tesla")
"""Trajectory matching: losses and runs are tested in test_trajectory_matching, on a network that
compiles in no time."""
VARIANTS = ("csdm_single", "dm_weighted", *RIVALS, *OF_EXPERTS)
"""Methods that are another one with other class weights, or another distance, or whose loop is that
of a toy: their losses are tested (test_gradients, test_methods, test_rivals,
test_gradient_matching, test_trajectory_matching), their steps are that one's."""
FAMILIES = {
    "toy_selection": Kind(Nearest, (Pool(),)),
    "toy_matching": Kind(Means, (Untrained(2),)),
    "toy_gradients": Kind(Gradients, (Untrained(2),)),
    "toy_kernel_ridge": Kind(Ridge, (Untrained(2),)),
    "toy_recovery": Kind(Recovery, (Teacher(),)),
}


@dataclasses.dataclass(frozen=True)
class Waves:
    """A parameterisation of coefficients: columns of images in the cosine basis."""

    tiles = 1

    def basis(self, size: int) -> jax.Array:
        k, x = np.arange(size)[:, None], np.arange(size)[None]
        scale = np.where(k == 0, np.sqrt(1 / size), np.sqrt(2 / size))
        return jnp.asarray(scale * np.cos(np.pi * k * (x + 0.5) / size), jnp.float32)

    def check(self, image_shape):
        """Every shape can be stored."""

    def encode(self, images):
        return {"coefficients": jnp.einsum("kh,nhwc->nkwc", self.basis(images.shape[1]), images)}

    def decode(self, stored):
        waves = stored["coefficients"]
        return jnp.clip(jnp.einsum("kh,nkwc->nhwc", self.basis(waves.shape[1]), waves), 0, 1)

    def project(self, stored):
        return stored
