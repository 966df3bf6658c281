"""Gradient matching: images that pull the weights of a network where the real ones pull them.

    min_S  E_theta sum_c D( d/dtheta CE(A_w(R_c); theta), d/dtheta CE(A_w(S_c); theta) )

A round is one update of the images and some steps of a network. Its phases:

- `match`, once for each class: the class's real batch gives the gradient that is aimed at, a
  constant, and the distance of the synthetic gradient to it is differentiated to the synthetic
  pixels: the one second-order gradient of the method.
- `update`, once: the images move along the gradient of the sum over classes.
- `train`: the network takes some steps. Every `restart` rounds a fresh one begins.

One class at a time, so that a step's program and its memory do not grow with the number of classes,
and no weight gradient lies in a loop of a program, where a CPU is many times slower. The real batch
of a class has `min(n_c, distill.batch)` images; as the class of a step is not known when it is
compiled, small classes are padded with rows of weight 0, which cost time and change nothing. With
`distill.classes_per_step` below the number of classes, rounds take so many in turn.

Memory, beside the state: the activations of `distill.batch` real images of one class for a gradient
to the weights, and about twice those of the class's synthetic images for the second order.

A method of this family is a distance of two gradients, and what its network is trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from csdm_jax import augment
from csdm_jax.data.device import draw_of_classes
from csdm_jax.distillation.methods.base import (
    Context,
    Inputs,
    Metrics,
    Phase,
    Views,
    initial_images,
    stored_labels,
)
from csdm_jax.distillation.updates import Moments, Updates
from csdm_jax.metric.numerics import safe_sqrt
from csdm_jax.metric.ragged import Ragged
from csdm_jax.networks import Params
from csdm_jax.parameterisations import Stored
from csdm_jax.runtime import health
from csdm_jax.runtime.fields import RATE, Field, integer
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.training import online
from csdm_jax.training.optimisers import optimiser

EPSILON = 1e-6

Distance = Callable[[Params, Params], jax.Array]
"""Gradients to the weights, of real and of synthetic images, to a scalar."""


def cosine_distance(real: Params, synthetic: Params) -> jax.Array:
    """One minus the cosine of both gradients, summed over the output rows of every layer.

    A row is what leads to one output channel of a convolution or one output of a linear layer;
    biases and the parameters of norms, of one dimension, do not count. The product of the norms has
    1e-6 added to it.

    Source: Zhao et al. 2021, equation 9 and their code.
    """
    total = jnp.float32(0)
    for x, y in _leaves(real, synthetic, lambda leaf: leaf.ndim > 1):
        x, y = (leaf.reshape(-1, leaf.shape[-1]) for leaf in (x, y))
        norms = (safe_sqrt(jnp.sum(jnp.square(leaf), axis=0)) for leaf in (x, y))
        total += jnp.sum(1.0 - jnp.sum(x * y, axis=0) / (next(norms) * next(norms) + EPSILON))
    return total


def squared_distance(real: Params, synthetic: Params) -> jax.Array:
    """Squared error over the kernels of all convolutions; the classifier does not count.

    Source: Kim et al. 2022, their code.
    """
    kernels = _leaves(real, synthetic, _is_kernel)
    return sum((jnp.sum(jnp.square(x - y)) for x, y in kernels), jnp.float32(0))


def has_kernels(weights: Params) -> bool:
    """Whether a network has what `squared_distance` compares; shapes are enough."""
    return any(map(_is_kernel, jax.tree.leaves(weights)))


def _is_kernel(leaf: Any) -> bool:
    return leaf.ndim == 4


def _leaves(
    real: Params, synthetic: Params, counts: Callable[[jax.Array], bool]
) -> list[tuple[jax.Array, jax.Array]]:
    pairs = zip(jax.tree.leaves(real), jax.tree.leaves(synthetic), strict=True)
    return [(x, y) for x, y in pairs if counts(x)]


def fields(section: str, *, restart: int, train_steps: int, train_batch: int) -> dict[str, Field]:
    """Fields of the section in which methods say how their network is trained."""
    return {
        # Rounds that a network serves before a fresh one takes its place.
        f"{section}.restart": Field(restart, integer(1, 1_000_000)),
        # Steps of its training in each round, by gradient descent.
        f"{section}.train_steps": Field(train_steps, integer(1, 100_000)),
        f"{section}.train_batch": Field(train_batch, integer(1, 1_000_000)),
        f"{section}.learning_rate": Field(0.01, RATE),
    }


class Found(NamedTuple):
    """What the matching steps of a round leave to its update.

    Attributes:
      pixels: gradient of each class's distance to what is stored, `[C, n / C, ...]` each.
      losses: `[C]`, each class's distance when it last had its turn.
      sums: what else a method adds up over the classes of a round.
    """

    pixels: Stored
    losses: jax.Array
    sums: Any = ()


class State(NamedTuple):
    """The synthetic images and their moments, the network, and what a round has found so far."""

    stored: Stored
    moments: Moments
    network: online.Trained
    found: Found


class Turn(NamedTuple):
    """Which class a step of a round is for.

    Attributes:
      label: int32 scalar.
      first: bool scalar, whether it is the first one of its round.
      round: int32 scalar, the number of the round.
      key: of this step; augments both sides alike.
      network_key: begins a fresh network.
    """

    label: jax.Array
    first: jax.Array
    round: jax.Array
    key: jax.Array
    network_key: jax.Array


class GradientMatching:
    """A method that matches gradients under `distance`.

    Args:
      config: the experiment's configuration.
      context: data, network and parameterisation.
      distance: of the gradients of one class.
      own: the section of the configuration with what `fields` lists.
      augmented: whether images are augmented, in matching and in the training of the network.
      momentum, weight_decay: of that training.
    """

    def __init__(
        self,
        config: Any,
        context: Context,
        distance: Distance,
        own: Any,
        *,
        augmented: bool = True,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        self.steps = config.distill.steps
        self._config, self._own, self._context = config.distill, own, context
        self._distance = distance
        self._augmentation = augment.Augmentation.parse(
            config.distill.augmentation if augmented else "none",
            mode=config.distill.augmentation_mode,
        )
        self._turns = config.distill.classes_per_step or context.num_classes
        self._updates = Updates(config.distill, context.parameterisation, context.num_classes)
        self._training = optimiser(
            "sgd", own.learning_rate, momentum=momentum, weight_decay=weight_decay
        )
        self.phases: tuple[Phase, ...] = (
            Phase(self.match, self._turns, self._draw, self.views(), numbered=True),
            Phase(self.update),
            Phase(self.train, own.train_steps, self.training_rows()),
        )

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:
        """Synthetic images, fresh optimiser states, and a network; a round 0 begins another one."""
        stored = initial_images(self._context, self._config.ipc, key, supplied)
        weights = self._context.network.init(jax.random.fold_in(key, 1))
        nothing = jax.tree.map(jnp.zeros_like, self._updates.by_class(stored))
        found = Found(nothing, jnp.zeros(self._context.num_classes), self.no_sums(weights))
        moments = self._updates.init(stored)
        return State(stored, moments, online.begin(weights, self._training), found)

    def result(self, state: State) -> DistilledSet:
        """The synthetic images with the label of their class."""
        labels = stored_labels(self._context.num_classes, self._config.ipc)
        return self._context.distilled(state.stored, labels)

    def views(self) -> Views | None:
        """What a class's real batch is kept as: nothing, it is drawn anew in every round."""
        return None

    def training_rows(self) -> Callable[[jax.Array], Ragged] | None:
        """Which real images a step of the network's training reads."""
        raise NotImplementedError

    def training_batch(self, state: State, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        """Images `[n, H, W, ch]`, normalised and augmented, and targets `[n, K]` of that step."""
        raise NotImplementedError

    def no_sums(self, weights: Params) -> Any:
        """What a method adds up, before it adds."""
        del weights
        return ()

    def add(self, sums: Any, turn: Turn, real: Params, synthetic: Params) -> Any:
        """Those sums after a class, whose gradients to the weights these are."""
        del turn, real, synthetic
        return sums

    def loss(self, found: Found, classes: jax.Array, round_: jax.Array) -> jax.Array:
        """What a round has found the loss to be, over its classes, int32 `[k]`."""
        del round_
        return jnp.sum(found.losses[classes])

    def _label(self, number: jax.Array) -> jax.Array:
        """Whose turn a matching step is; classes take turns over the rounds."""
        return number % self._context.num_classes

    def _classes(self, round_: jax.Array) -> jax.Array:
        """The classes of a round, int32 `[k]`."""
        return self._label(round_ * self._turns + jnp.arange(self._turns, dtype=jnp.int32))

    def _draw(self, key: jax.Array, number: jax.Array) -> Ragged:
        label = self._label(number)
        return draw_of_classes(self._context.counts, key, label[None], self._config.batch)

    def _turn(self, inputs: Inputs) -> Turn:
        number = inputs.number
        # A view's key is that of all steps that read it.
        keys = jax.random.split(jax.random.fold_in(inputs.key, number))
        first = number % self._turns == 0
        return Turn(self._label(number), first, number // self._turns, *keys)

    def match(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """The distance of one class's gradients, and its gradient to the class's pixels."""
        real = inputs.batch if inputs.view is None else inputs.view
        assert real is not None
        turn = self._turn(inputs)
        state = self._begun(state, turn)
        weights, drawn = state.network.weights, self._drawn(turn)
        real = real.with_values(self._context.devices.split_evenly(real.values))
        aim = jax.lax.stop_gradient(self.gradient(weights, real, drawn))

        def distance(stored: Stored) -> tuple[jax.Array, Params]:
            own = self.gradient(weights, self._side(stored, turn.label), drawn)
            return self._distance(aim, own), own

        stored = self._of_class(state.stored, turn.label)
        (value, own), pixels = jax.value_and_grad(distance, has_aux=True)(stored)
        found = Found(
            put(state.found.pixels, turn.label, pixels),
            state.found.losses.at[turn.label].set(value),
            self.add(state.found.sums, turn, aim, own),
        )
        finite = {
            "weights of the network": health.finite(weights),
            "real batch": health.finite(aim),
            "pixels": health.finite(stored),
            "gradient": health.finite(pixels),
        }
        total = jnp.sum(found.losses[self._classes(turn.round)])
        return state._replace(found=found), Metrics(total, {}, {}, finite)

    def _begun(self, state: State, turn: Turn) -> State:
        """The state with a fresh network in it, where it is time for one."""

        def fresh() -> online.Trained:
            weights = self._context.network.init(turn.network_key)
            return online.begin(weights, self._training)

        due = turn.first & (turn.round % self._own.restart == 0)
        return state._replace(network=jax.lax.cond(due, fresh, lambda: state.network))

    def _drawn(self, turn: Turn) -> augment.Draw:
        """One augmentation, for all images of the class."""
        shape = self._context.host.images.shape[1:]
        return augment.draw(self._augmentation, turn.key, 1, shape)

    def _of_class(self, stored: Stored, label: jax.Array) -> Stored:
        return jax.tree.map(lambda leaf: leaf[label], self._updates.by_class(stored))

    def _side(self, stored: Stored, label: jax.Array) -> Ragged:
        """The images of one class, decoded."""
        images = self._context.parameterisation.decode(stored)
        return Ragged(images, (len(images),), label[None])

    def gradient(self, weights: Params, side: Ragged, drawn: augment.Draw) -> Params:
        """Of the mean cross-entropy of one class's images, with respect to the weights."""
        rows = jnp.zeros(len(side.values), jnp.int32)
        images = self._context.normaliser(side.values)
        images = augment.apply(self._augmentation, drawn.take(rows), images)

        def loss(weights: Params) -> jax.Array:
            logits, _ = self._context.network.apply(weights, images)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, side.ids)
            return side.with_values(losses[:, None]).means()[0, 0]

        return jax.grad(loss)(weights)

    def update(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One update of the images of a round's classes."""
        classes = self._classes(inputs.number)
        loss = self.loss(state.found, classes, inputs.number)
        pixels, like = state.found.pixels, state.stored
        gradient = jax.tree.map(lambda own, whole: own.reshape(whole.shape), pixels, like)
        stored, moments = self._updates.apply(state.stored, gradient, state.moments, loss, classes)
        which = {"classes": classes} if self._updates.some_classes else {}
        scalars = {
            "matching": loss,
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate_factor": moments.plateau.scale,
        }
        finite = {"updated pixels": health.finite(stored)}
        by_class = {"distance": state.found.losses[classes]} | which
        state = state._replace(stored=stored, moments=moments)
        return state, Metrics(loss, scalars, by_class, finite)

    def train(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One step of the network's training."""
        images, targets = self.training_batch(state, inputs)
        network, value, right = online.step(
            self._context.network, self._training, state.network, images, targets
        )
        scalars = {"network_loss": value, "network_accuracy": right}
        return state._replace(network=network), Metrics(value, scalars, {}, {})

    def augmented(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """Images `[n, H, W, ch]`, uint8 or in [0, 1]: normalised, each augmented for itself."""
        return augment.augment_each(self._augmentation, key, self._context.normaliser(images))


def put(every: Stored, label: jax.Array, own: Stored) -> Stored:
    """What is kept of each class, with other values for one."""
    return jax.tree.map(lambda leaf, part: leaf.at[label].set(part), every, own)
