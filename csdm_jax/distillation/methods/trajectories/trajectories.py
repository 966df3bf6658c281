"""Trajectory matching: training on the synthetic images leads where training on real ones led.

    min_{S, y, eta}  ||theta_n - theta*||^2 / ||theta_0 - theta*||^2

An expert is drawn and two of its snapshots, theta_0 and, some epochs later, theta*. A student
begins at theta_0 and makes N steps of plain descent on synthetic images, theta_{i+1} = theta_i -
eta g_i(theta_i; S, y); n is N, or what a method's `landing` says. Images, the step size eta and
perhaps labels y are learned, those of all classes in every round, whatever
`distill.classes_per_step` says.

The gradient is exact, in the memory of one step: no graph is kept but the students' weights, and
each step is made again while the adjoint goes back through it,

    lambda_n = dL/dtheta_n,   lambda_i = lambda_{i+1} (d theta_{i+1} / d theta_i),

with dL/d(S, y, eta) the sum over i of `lambda_{i+1} (d theta_{i+1} / d(S, y, eta))`. That is what
`jax.checkpoint` around each step of an unrolled loop computes; but both ways are phases of N steps,
so that one step is compiled, whatever N is, and no weight gradient stands in a loop on a CPU.

A method of this family is a few lines: its courses (which snapshots, which weights are compared and
moved), its landing, whether labels are learned, whether images are averaged.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment
from csdm_jax.data.device import epoch_batches, present
from csdm_jax.distillation import needs
from csdm_jax.distillation.methods.base import (
    Context,
    Inputs,
    Kind,
    Metrics,
    Phase,
    initial_images,
    stored_labels,
)
from csdm_jax.distillation.updates import Moments, Updates
from csdm_jax.parameterisations import Stored
from csdm_jax.runtime import health
from csdm_jax.runtime.fields import RATE, Field, integer, number
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.training.experts import Experts, size_of, unraveller
from csdm_jax.training.settings import EXPERTS

LARGEST_CHANGE = 0.01
"""Of the learned step size in a round, in parts of it: one large loss cannot make an end of it."""
_TINY = 1e-20

FIELDS = EXPERTS | {
    # Steps N of the student, and epochs of the expert that they stand for.
    "trajectory.steps": Field(10, integer(1, 10_000)),
    "trajectory.epochs": Field(2, integer(1, 100_000)),
    # Epochs of the expert at which a student may begin, the first and the last.
    "trajectory.earliest": Field(0, integer(0, 100_000)),
    "trajectory.latest": Field(10, integer(0, 100_000)),
    # Synthetic images in a step of the student; 0 for all.
    "trajectory.batch": Field(0, integer(0, 1_000_000)),
    # The student's step size at first, and the learning rate at which it is learned.
    "trajectory.step_size": Field(0.01, RATE),
    "trajectory.step_size_rate": Field(1e-5, RATE),
}
AVERAGED = {
    # Decay of the moving average of the images, which is what is kept.
    "trajectory.average": Field(0.999, number(0.0, 0.999999)),
}


class Learned(NamedTuple):
    """What is learned, or its gradient.

    Attributes:
      stored: the synthetic images.
      labels: logits `[n, K]`; () for hard labels.
      step_size: scalar.
    """

    stored: Stored
    labels: Any
    step_size: jax.Array


class Unrolled(NamedTuple):
    """One student's steps there and back.

    Attributes:
      weights: `[N + 1, P]`, theta_0 to theta_N.
      lengths: `[N]`, L1 distance of theta_1 to theta_N to the target; infinite before it is known.
      squares: `[N]`, their squared distances, as parts of that of theta_0.
      loss: scalar, of those the one where the student lands.
      adjoint: `[P]`.
      gradient: of the loss, summed up on the way back.
    """

    weights: jax.Array
    lengths: jax.Array
    squares: jax.Array
    loss: jax.Array
    adjoint: jax.Array
    gradient: Learned


class State(NamedTuple):
    """What is learned, the moments of its optimisers, the average, and the students' steps.

    Attributes:
      stored, labels, step_size: as of `Learned`.
      moments: of the images' updates.
      momenta: of labels and step size.
      average: of the images; () where none is kept.
      unrolled: one a course.
    """

    stored: Stored
    labels: Any
    step_size: jax.Array
    moments: Moments
    momenta: Any
    average: Any
    unrolled: tuple[Unrolled, ...]


class Pair(NamedTuple):
    """What a round reads of an expert.

    Attributes:
      start: float32 `[P]`, theta_0.
      target: float32 `[P]`, theta*.
      key_data: decides the student's batches and augmentation.
    """

    start: Any
    target: Any
    key_data: Any


@dataclasses.dataclass(frozen=True)
class Course:
    """One student a round.

    Attributes:
      steps: N.
      choose: key and number of the round to the expert's rows of theta_0 and theta*.
      matched: bool `[P]`, the weights that are compared; None for all.
      moved: bool `[P]`, those that the student changes; None for all.
      class_weights: float `[C]`, of the classes' terms of its cross-entropy; None for 1 each.
      share: weight of its loss.
    """

    steps: int
    choose: Callable[[jax.Array, int], tuple[int, int]]
    matched: np.ndarray | None = None
    moved: np.ndarray | None = None
    class_weights: np.ndarray | None = None
    share: float = 1.0


def between(key: jax.Array, first: int, last: int) -> int:
    """A number from `first` to `last`, both included."""
    return int(jax.random.randint(key, (), first, last + 1))


def last_step(lengths: jax.Array) -> jax.Array:
    """The student lands after all of its steps."""
    return jnp.int32(len(lengths))


class TrajectoryMatching:
    """A method that matches trajectories.

    Args:
      config: the experiment's configuration.
      context: data, network and parameterisation.
      landing: `lengths` of `Unrolled` to the number n of steps, 1 to N, that are compared.
      exact: whether the adjoint passes through the steps, or as it is (TESLA).
      soft: whether labels are learned.
      averaged: whether a moving average of the images is the result.
    """

    def __init__(
        self,
        config: Any,
        context: Context,
        *,
        landing: Callable[[jax.Array], jax.Array] = last_step,
        exact: bool = True,
        soft: bool = False,
        averaged: bool = False,
    ):
        self.steps = config.distill.steps
        self._config, self._context, self._own = config.distill, context, config.trajectory
        self._landing, self._exact = landing, exact
        self._soft, self._averaged = soft, averaged
        self._updates = Updates(config.distill, context.parameterisation, context.num_classes)
        self._of_labels = optax.sgd(config.trajectory.get("label_rate", 1.0), momentum=0.9)
        self._of_step_size = optax.sgd(self._own.step_size_rate, momentum=0.5)
        self._augmentation = augment.Augmentation.parse(
            config.distill.augmentation, mode=config.distill.augmentation_mode
        )
        self._hard = stored_labels(context.num_classes, config.distill.ipc)
        self._size, self._unravel = size_of(context.network), unraveller(context.network)
        self.courses = tuple(self._courses())
        self.phases = (
            *(
                phase
                for number, one in enumerate(self.courses)
                for phase in self._ways(number, one)
            ),
            Phase(self.update),
        )

    def _courses(self) -> Sequence[Course]:
        """One student, compared in all weights."""
        return [Course(self._own.steps, self._window)]

    def _window(self, key: jax.Array, number: int) -> tuple[int, int]:
        """Rows of theta_0 and theta*, an expert's epoch being a row."""
        del number
        first = between(key, self._own.earliest, self._own.latest)
        return first, first + self._own.epochs

    def _ways(self, number: int, course: Course) -> tuple[Phase, Phase]:
        fetch = functools.partial(self._fetch, course)
        there = functools.partial(self.forward, number)
        back = functools.partial(self.backward, number)
        return Phase(there, course.steps, fetch=fetch), Phase(back, course.steps, fetch=fetch)

    def _fetch(
        self, course: Course, supplied: tuple[Any, ...], key: jax.Array, number: int
    ) -> Pair:
        """The two snapshots of a round."""
        experts = experts_of(supplied)
        which, when, own = jax.random.split(key, 3)
        network = between(which, 0, experts.size - 1)
        start, target = course.choose(when, number)
        return Pair(
            experts.at(network, start), experts.at(network, target), jax.random.key_data(own)
        )

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:
        """First images and labels, the first step size, nothing unrolled yet."""
        stored = self.first_images(key, supplied)
        labels = self.first_labels(stored, supplied) if self._soft else ()
        learned = Learned(stored, labels, jnp.float32(self._own.step_size))
        return State(
            *learned,
            self._updates.init(stored),
            (self._of_labels.init(labels), self._of_step_size.init(learned.step_size)),
            jax.tree.map(jnp.array, stored) if self._averaged else (),
            tuple(self._nothing(course, learned) for course in self.courses),
        )

    def first_images(self, key: jax.Array, supplied: tuple[Any, ...]) -> Stored:
        """Those of the context's start."""
        return initial_images(self._context, self._config.ipc, key, supplied)

    def first_labels(self, stored: Stored, supplied: tuple[Any, ...]) -> jax.Array:
        """Logits `[n, K]` of the first images, for a method that learns labels."""
        raise NotImplementedError

    def _nothing(self, course: Course, learned: Learned) -> Unrolled:
        return Unrolled(
            jnp.zeros((course.steps + 1, self._size)),
            jnp.full(course.steps, jnp.inf),
            jnp.zeros(course.steps),
            jnp.float32(0),
            jnp.zeros(self._size),
            jax.tree.map(jnp.zeros_like, learned),
        )

    def result(self, state: State) -> DistilledSet:
        """The images, or their average, with labels and the step size that they were made for."""
        stored = state.average if self._averaged else state.stored
        labels = state.labels if self._soft else self._hard
        return self._context.distilled(stored, labels, logits=self._soft, lr=state.step_size)

    def student_step(
        self, course: Course, weights: jax.Array, learned: Learned, key: jax.Array, index: jax.Array
    ) -> jax.Array:
        """theta_{i+1} of theta_i.

        Args:
          course: of the student.
          weights: float32 `[P]`.
          learned: images, labels and step size.
          key: of the round.
          index: int32 scalar, i.
        """
        images, targets, real = self._batch(learned, key, index)
        if course.class_weights is not None:
            targets = targets * jnp.asarray(course.class_weights, targets.dtype)

        def loss(weights: jax.Array) -> jax.Array:
            (logits, _), _ = self._context.network.apply_in_training(self._unravel(weights), images)
            losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=1)
            return jnp.sum(losses * real) / jnp.sum(real)

        gradient = _only(course.moved, jax.grad(loss)(weights))
        return weights - learned.step_size * gradient

    def _batch(
        self, learned: Learned, key: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Images that a step of the student sees, their targets, and which of them are no padding.

        Epochs in random order, as of the trainer; all images where the batch is not smaller.
        """
        decoded = self._context.parameterisation.decode(learned.stored)
        count = len(decoded)
        batch = min(self._own.batch or count, count)
        rows, real = jnp.arange(count), jnp.ones(count)
        if batch < count:
            epoch, place = jnp.divmod(index, -(-count // batch))
            rows = epoch_batches(jax.random.fold_in(key, epoch), count, batch)[place]
            real = present(place, count, batch)
        images = self._context.normaliser(decoded[rows])
        own_key = jax.random.fold_in(key, index + 1_000_003)
        images = augment.augment_each(self._augmentation, own_key, images)
        return images, self._targets(learned.labels)[rows // (count // len(self._hard))], real

    def _targets(self, labels: Any) -> jax.Array:
        """Class probabilities `[n, K]` of the stored images."""
        if self._soft:
            return jax.nn.softmax(labels)
        return jax.nn.one_hot(self._hard, self._context.num_classes)

    def forward(self, at: int, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One step of the student; the first of a round begins at its theta_0."""
        course, pair, before = self.courses[at], inputs.fetched, state.unrolled[at]
        index = inputs.number % course.steps
        weights = jnp.where(index == 0, pair.start, before.weights[index])
        key = jax.random.wrap_key_data(pair.key_data)
        moved = self.student_step(course, weights, _learned(state), key, index)
        gap = _only(course.matched, moved - pair.target)
        lengths = jnp.where(index == 0, jnp.inf, before.lengths).at[index].set(jnp.sum(abs(gap)))
        whole = jnp.sum(_only(course.matched, pair.start - pair.target) ** 2)
        part = jnp.sum(gap**2) / jnp.maximum(whole, _TINY)
        squares = before.squares.at[index].set(part)
        known = before._replace(
            weights=before.weights.at[index].set(weights).at[index + 1].set(moved),
            lengths=lengths,
            squares=squares,
            loss=squares[self._landing(lengths) - 1],
        )
        finite = {"expert weights": health.finite((pair.start, pair.target))}
        scalars = {f"course_{at}": known.loss} if len(self.courses) > 1 else {}
        return _with(state, at, known), Metrics(known.loss, scalars, {}, finite)

    def backward(self, at: int, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One step back; the first of a round begins behind the last step of the student."""
        course, pair, known = self.courses[at], inputs.fetched, state.unrolled[at]
        first = inputs.number % course.steps == 0
        index = course.steps - 1 - inputs.number % course.steps
        landed = self._landing(known.lengths)
        whole = jnp.sum(_only(course.matched, pair.start - pair.target) ** 2)
        gap = _only(course.matched, known.weights[landed] - pair.target)
        begun = 2 * gap / jnp.maximum(whole, _TINY)
        adjoint = jnp.where(first, 0.0, known.adjoint)
        adjoint = jnp.where(index + 1 == landed, begun, adjoint)
        key = jax.random.wrap_key_data(pair.key_data)

        def step(weights: jax.Array, learned: Learned) -> jax.Array:
            return self.student_step(course, weights, learned, key, index)

        _, pull = jax.vjp(step, known.weights[index], _learned(state))
        passed, own = pull(adjoint)
        before = jax.tree.map(lambda leaf: jnp.where(first, 0.0, leaf), known.gradient)
        done = known._replace(
            adjoint=passed if self._exact else adjoint,
            gradient=jax.tree.map(jnp.add, before, own),
        )
        return _with(state, at, done), Metrics(known.loss, {}, {}, {})

    def update(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One step of images, labels and step size along the gradient of all courses."""
        parts = list(zip(self.courses, state.unrolled, strict=True))
        loss = sum((course.share * one.loss for course, one in parts), jnp.float32(0))
        shares = [jax.tree.map(lambda g, s=c.share: s * g, one.gradient) for c, one in parts]
        gradient = jax.tree.map(lambda *leaf: sum(leaf[1:], leaf[0]), *shares)
        every = jnp.arange(self._context.num_classes)
        stored, moments = self._updates.apply(
            state.stored, gradient.stored, state.moments, loss, every
        )
        moves, label_momenta = self._of_labels.update(gradient.labels, state.momenta[0])
        move, momentum = self._of_step_size.update(gradient.step_size, state.momenta[1])
        most = LARGEST_CHANGE * state.step_size
        after = state._replace(
            stored=stored,
            labels=optax.apply_updates(state.labels, moves),
            step_size=state.step_size + jnp.clip(move, -most, most),
            moments=moments,
            momenta=(label_momenta, momentum),
        )
        after = jax.tree.map(lambda new, old: jnp.where(self.counts(loss), new, old), after, state)
        if self._averaged:
            after = after._replace(average=self._average(state.average, after.stored, inputs))
        scalars = {"step_size": after.step_size}
        finite = {"gradient": health.finite(gradient)}
        return after, Metrics(loss, scalars, {}, finite)

    def counts(self, loss: jax.Array) -> jax.Array | bool:
        """Whether a round of this loss moves anything."""
        del loss
        return True

    def _average(self, average: Stored, stored: Stored, inputs: Inputs) -> Stored:
        """The exponential moving average of the images of all rounds, without bias to the first."""
        decay = jnp.float32(self._own.average)
        weight = (1 - decay) / (1 - decay ** (inputs.number + 1).astype(jnp.float32))
        return jax.tree.map(lambda a, x: a + weight * (x - a), average, stored)


def experts_of(supplied: tuple[Any, ...]) -> Experts:
    """The experts among what a method is supplied with."""
    (found,) = (one for one in supplied if isinstance(one, Experts))
    return found


def _learned(state: State) -> Learned:
    return Learned(state.stored, state.labels, state.step_size)


def _with(state: State, at: int, known: Unrolled) -> State:
    """The state with another `unrolled` of one course."""
    unrolled = list(state.unrolled)
    unrolled[at] = known
    return state._replace(unrolled=tuple(unrolled))


def _only(mask: np.ndarray | None, weights: jax.Array) -> jax.Array:
    """The weights of a mask, 0 in place of the others."""
    return weights if mask is None else jnp.where(mask, weights, 0.0)


def check(config: Any) -> None:
    """Raises a ValueError where a student would have no expert to follow."""
    own = config.trajectory
    if config.network.name == "convnet_batch_norm":
        raise ValueError(
            "network.name = 'convnet_batch_norm': its running statistics are weights that no "
            "student moves and that would be compared; take one without batch norm, as convnet"
        )
    if own.earliest > own.latest:
        raise ValueError(
            f"trajectory.earliest = {own.earliest} is behind trajectory.latest = {own.latest}: "
            "raise the latter"
        )
    if own.latest + own.epochs > config.experts.epochs:
        raise ValueError(
            f"trajectory.latest + trajectory.epochs = {own.latest + own.epochs} is behind the end "
            f"of the experts' training, experts.epochs = {config.experts.epochs}: lower "
            "trajectory.latest, or train them longer"
        )


def kind(
    create: Callable[[Any, Context], TrajectoryMatching],
    fields: Mapping[str, Field] = MappingProxyType({}),
    published: Mapping[str, Any] = MappingProxyType({}),
    *,
    flat: bool = False,
    balanced: bool = False,
    selects: bool = False,
    check: Callable[[Any], None] = check,
) -> Kind:
    """The entry of a method of this family; arguments as those of `Kind` and `needs.Experts`."""
    return Kind(
        create,
        (needs.Experts(flat=flat, balanced=balanced),),
        {**FIELDS, **fields},
        published,
        check=check,
        selects=selects,
    )
