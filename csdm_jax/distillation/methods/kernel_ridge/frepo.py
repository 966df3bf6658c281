"""FRePo: kernel ridge regression on the features of networks that are trained on the way.

A step draws one network of a pool, regresses the learned labels of all synthetic images on their
features, and predicts a real batch:

    f(x) = k(x, S) (k(S, S) + ridge * tr k(S, S) / n * I)^-1 Y,   k(x, x') = <phi(x), phi(x')>
    min_{S, Y}  mean_c mean_{x in R_c} |f(x) - y_x|^2 / 2 - margin * mean_s min(gap(Y_s), 1 / C)

with centred targets `onehot - 1 / C`; `gap` is the difference of the two largest entries of a
label. Then the drawn network makes one step of Adam on the synthetic images, by squared error, and
a fresh one takes its place when it has made enough. The labels of the distilled set are class
probabilities, the nearest to what is learned: at the beginning one-hot.

Each class of the real batch counts alike, however few images it has. The synthetic images of a
class of one begin as equal and stay so, counting as one image, unless the ridge is so small that
rounding tells them apart. The ridge keeps their regression defined, and it is solved without the
kernel being formed, so that a small ridge is not lost in rounding.

Source: Zhou et al. 2022, Dataset Distillation using Neural Feature Regression; its public code.
Cost: forward passes of the real and the synthetic batch, an orthonormal basis of the synthetic
features, O(n^2 d), and a training step on the synthetic images; `frepo.networks` networks three
times in the state. On several devices each computes all of it.
Deviations: real batches balanced over the classes; real images augmented as `distill.augmentation`
says, in place of a doubling by flips; pixels clipped to [0, 1], and not whitened. A larger ridge in
our recipe. No batch norm in `convnet_doubling`, with which the authors distil and which has the
width of their students; ours are our networks, and learn class probabilities by cross-entropy,
where theirs learn the regression's targets by squared error. Their training is as long as it is for
a hundred images, with its rate by our schedule, without warm-up, and without translations.
Licence: no licence file.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment
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
from csdm_jax.distillation.updates import Moments, Updates
from csdm_jax.metric.ragged import Ragged
from csdm_jax.networks import Params
from csdm_jax.parameterisations import Parameterisation, Stored
from csdm_jax.runtime import health
from csdm_jax.runtime.fields import RATE, Field, integer, number
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.training import online

FIELDS = {
    # Networks in the pool, and steps after which a fresh one takes a network's place.
    "frepo.networks": Field(10, integer(1, 1000)),
    "frepo.most_steps": Field(100, integer(1, 1_000_000)),
    "frepo.network_learning_rate": Field(3e-4, RATE),
    # Most synthetic images that a network's step sees.
    "frepo.network_batch": Field(1000, integer(1, 1_000_000)),
    # Of the regression, as a share of the mean of the kernel's diagonal. The published 1e-6 wants
    # many features: with those of a narrow network the regression predicts worse than none.
    "frepo.ridge": Field(0.1, number(1e-9, 1e3)),
    # Weight of the labels' margin.
    "frepo.margin": Field(1.0, number(0.0, 1e6)),
}
TINY = 1e-30  # added to the ridge: where all features are 0, so are the predictions
LABELS = "labels"
"""Name of the labels among what is learned; no parameterisation stores anything of that name."""


class Online(NamedTuple):
    """Networks under training, Q places each.

    Attributes:
      weights: of the networks, with a leading axis of Q.
      moments: of their optimisers, likewise.
      steps: int32 `[Q]`; they begin staggered, so that networks are renewed one by one.
    """

    weights: Params
    moments: Any
    steps: jax.Array


class State(NamedTuple):
    """The images, their labels, float32 `[n, C]`, the updates' state, and the networks."""

    stored: Stored
    labels: jax.Array
    moments: Moments
    online: Online


class WithLabels:
    """What an update brings back into its range, where labels are learned with the images."""

    def __init__(self, images: Parameterisation):
        self._images = images

    def project(self, learned: Stored) -> Stored:
        """The images' own rule; labels may be anything."""
        stored = {name: array for name, array in learned.items() if name != LABELS}
        return self._images.project(stored) | {LABELS: learned[LABELS]}


def centred(labels: jax.Array, num_classes: int) -> jax.Array:
    """Targets of the regression, `[n, C]`: one-hot less its mean."""
    return jax.nn.one_hot(labels, num_classes) - 1 / num_classes


def label_scale(num_classes: int) -> float:
    """By which learned labels begin shorter than targets, sqrt(C / 10)."""
    return math.sqrt(num_classes / 10)


def _projector(support: jax.Array, ridge: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Orthonormal rows Q that span those of [F, sqrt(shift) I], F the support `[n, d]`.

    Then Q2' Q2 / shift is the inverse of F F' + shift I, and Q1' Q2 / sqrt(shift) is F' times it,
    for the parts Q1 `[n, d]` and Q2 `[n, n]` of Q: no kernel is formed, whose condition would be
    that of F squared. Gram and Schmidt's rule, each row twice, in products alone: a step calls no
    LAPACK.
    """
    count = len(support)
    shift = ridge * jnp.sum(support**2) / count + TINY
    rows = jnp.concatenate([support, jnp.sqrt(shift) * jnp.eye(count)], axis=1)

    def body(place: jax.Array, found: jax.Array) -> jax.Array:
        row = rows[place]
        for _ in range(2):
            row -= _product(_product(found, row), found)
        return found.at[place].set(row / jnp.sqrt(jnp.sum(row**2)))

    found = jax.lax.fori_loop(0, count, body, jnp.zeros_like(rows))
    return found[:, : support.shape[1]], found[:, support.shape[1] :], shift


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.matmul(x, y, precision="highest")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def regress(support: jax.Array, labels: jax.Array, ridge: float) -> jax.Array:
    """Weights on features, F' (F F' + shift I)^-1 Y; arguments as those of `predict`: `[d, C]`."""
    return _regress_forward(support, labels, ridge)[0]


def _regress_forward(support: jax.Array, labels: jax.Array, ridge: float) -> tuple[jax.Array, Any]:
    first, second, shift = _projector(support, ridge)
    half = _product(second, labels) / jnp.sqrt(shift)
    weights = _product(first.T, half)
    dual = _product(second.T, half) / jnp.sqrt(shift)
    return weights, (support, first, second, shift, weights, dual)


def _regress_backward(ridge: float, kept: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    # With a the dual and b its counterpart for the gradient, (F F' + shift I)^-1 F g: the gradient
    # to Y is b, to F it is a (g - F' b)' - b w', and to the shift minus the sum of a b.
    support, first, second, shift, weights, dual = kept
    own = _product(second.T, _product(first, gradient)) / jnp.sqrt(shift)
    to_support = _product(dual, (gradient - _product(support.T, own)).T)
    to_shift = -jnp.sum(dual * own) * 2 * ridge / len(support)
    return to_support - _product(own, weights.T) + to_shift * support, own


regress.defvjp(_regress_forward, _regress_backward)


def predict(support: jax.Array, labels: jax.Array, features: jax.Array, ridge: float) -> jax.Array:
    """Kernel ridge regression with the linear kernel of features.

    Args:
      support: float `[n, d]`, features that the labels belong to.
      labels: `[n, C]`.
      features: `[m, d]`, of what is predicted.
      ridge: relative to the mean of the kernel's diagonal, positive.

    Returns:
      `[m, C]`.
    """
    return _product(features, regress(support, labels, ridge))


def margin(labels: jax.Array) -> jax.Array:
    """`[n]`: the gap between the two largest entries of labels `[n, C]`, at most 1 / C."""
    top = jax.lax.top_k(labels, 2)[0]
    return jnp.minimum(top[:, 0] - top[:, 1], 1 / labels.shape[1])


def _squared(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum((outputs - targets) ** 2, axis=1)


class FRePo:
    """Images and labels whose regression predicts real images."""

    def __init__(self, config: Any, context: Context):
        self.steps = config.distill.steps
        self._config, self._own, self._context = config.distill, config.frepo, context
        self.phases = (Phase(self.step, draw=self._draw),)
        form: Any = WithLabels(context.parameterisation)
        self._updates = Updates(config.distill, form, context.num_classes)
        self._augmentation = augment.Augmentation.parse(
            config.distill.augmentation, mode=config.distill.augmentation_mode
        )
        self._training = optax.adam(config.frepo.network_learning_rate)

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:
        """Real images, centred labels, and fresh networks."""
        stored = initial_images(self._context, self._config.ipc, key, supplied)
        classes = self._context.num_classes
        labels = centred(jnp.asarray(stored_labels(classes, self._config.ipc)), classes)
        labels = labels / label_scale(classes)
        moments = self._updates.init(stored | {LABELS: labels})
        count = self._own.networks
        weights = jax.vmap(self._context.network.init)(
            jax.random.split(jax.random.fold_in(key, 1), count)
        )
        steps = jnp.arange(count, dtype=jnp.int32) * self._own.most_steps // count
        pool = Online(weights, jax.vmap(self._training.init)(weights), steps)
        return State(stored, labels, moments, pool)

    def result(self, state: State) -> DistilledSet:
        """The images with the class probabilities nearest to what is learned of each."""
        classes = self._context.num_classes
        labels = np.asarray(state.labels) * label_scale(classes) + 1 / classes
        nearest = jax.vmap(optax.projections.projection_simplex)(jnp.asarray(labels))
        return self._context.distilled(state.stored, nearest)

    def _draw(self, key: jax.Array) -> Ragged:
        batch, some = self._config.batch, self._config.classes_per_step
        return draw_class_batches(self._context.counts, jax.random.split(key, 5)[0], batch, some)

    def step(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One update of images and labels, and one of the network that was drawn for it."""
        batch = inputs.batch
        assert batch is not None and batch.classes is not None
        _, augment_key, place_key, batch_key, fresh_key = jax.random.split(inputs.key, 5)
        place = jax.random.randint(place_key, (), 0, self._own.networks)
        params = jax.tree.map(lambda leaf: leaf[place], state.online.weights)
        images = self._context.normaliser(batch.values)
        images = augment.augment_each(self._augmentation, augment_key, images)
        real = batch.with_values(self._features(params, images, gradient=False))
        learned = state.stored | {LABELS: state.labels}
        gradient_of = jax.value_and_grad(self.loss, has_aux=True)
        (loss, (scalars, by_class)), gradient = gradient_of(learned, params, real)
        moved, moments = self._updates.apply(learned, gradient, state.moments, loss, batch.classes)
        labels = moved.pop(LABELS)
        pool, network_loss = self._trained(state.online, place, moved, labels, batch_key)
        pool = self._renewed(pool, place, fresh_key)
        if self._updates.some_classes:
            by_class |= {"classes": batch.classes}
        scalars |= {
            "network_loss": network_loss,
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate_factor": moments.plateau.scale,
        }
        finite = {
            "extractor weights": health.finite(params),
            "real batch": health.finite(real.values),
            "pixels": health.finite(state.stored),
            "gradient": health.finite(gradient),
            "updated pixels": health.finite(moved),
        }
        return State(moved, labels, moments, pool), Metrics(loss, scalars, by_class, finite)

    def _features(self, params: Params, images: jax.Array, *, gradient: bool) -> jax.Array:
        return self._context.network.apply_in_tiles(
            params, images, limit=self._config.forward_batch, gradient=gradient
        )[1]

    def _decoded(self, stored: Stored, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Training images, normalised, and the label of each."""
        images = self._context.normaliser(self._context.parameterisation.decode(stored))
        return images, jnp.repeat(labels, len(images) // len(labels), axis=0)

    def loss(
        self, learned: Stored, params: Params, real: Ragged
    ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
        """What a step minimises, with its parts.

        Args:
          learned: what is stored, and the labels.
          params: of the network.
          real: features of the real batch, with its classes.
        """
        stored = {name: array for name, array in learned.items() if name != LABELS}
        images, labels = self._decoded(stored, learned[LABELS])
        support = self._features(params, images, gradient=True)
        predicted = predict(support, labels, real.values, self._own.ridge)
        errors = _squared(predicted, centred(real.ids, self._context.num_classes))
        right = jnp.argmax(predicted, axis=1) == real.ids
        both = jnp.stack([errors, right.astype(errors.dtype)], axis=1)
        error, accuracy = real.with_values(both).means().T
        gap = jnp.mean(margin(learned[LABELS]))
        total = jnp.mean(error) - self._own.margin * gap
        scalars = {"regression": jnp.mean(error), "margin": gap}
        return total, (scalars, {"error": error, "predicted": accuracy})

    def _trained(
        self, pool: Online, place: jax.Array, stored: Stored, labels: jax.Array, key: jax.Array
    ) -> tuple[Online, jax.Array]:
        """The networks after one step of one of them, and its loss."""
        images, targets = self._decoded(stored, labels)
        rows = online.drawn(key, len(images), self._own.network_batch)
        images, targets = images[rows], targets[rows]
        weights, moments = jax.tree.map(lambda leaf: leaf[place], (pool.weights, pool.moments))
        trained, value, _ = online.step(
            self._context.network,
            self._training,
            online.Trained(weights, moments),
            images,
            targets,
            _squared,
        )
        return online.placed(pool, place, Online(*trained, pool.steps[place] + 1)), value

    def _renewed(self, pool: Online, place: jax.Array, key: jax.Array) -> Online:
        """The networks with a fresh one in that place, if the one there has had its steps."""

        def renew() -> Online:
            fresh = online.begin(self._context.network.init(key), self._training)
            return online.placed(pool, place, Online(*fresh, jnp.int32(0)))

        return jax.lax.cond(pool.steps[place] > self._own.most_steps, renew, lambda: pool)


def create(config: Any, context: Context) -> FRePo:
    """Images and labels from which kernel ridge regression on features predicts real images."""
    return FRePo(config, context)


PUBLISHED = {
    "network.name": "convnet_doubling",
    "network.width": 128,
    "distill.parameterisation": "pixels",
    "distill.steps": 500_000,
    "distill.batch": 102,  # of each class: about 1024 of ten
    "distill.optimiser": "lamb",
    "distill.learning_rate": 3e-4,
    "distill.weight_decay": 0.0,
    "distill.cosine_to": 0.1,
    "distill.plateau_patience": 10_000_000,  # the cosine alone
    "distill.augmentation": "flip",
    "frepo.networks": 10,
    "frepo.most_steps": 100,
    "frepo.ridge": 1e-6,
    "evaluate.epochs": 2000,
    "evaluate.batch": 500,
    "evaluate.optimiser": "adamw",
    "evaluate.learning_rate": 3e-4,
    "evaluate.weight_decay": 0.0,
    "evaluate.augmentation": "color_crop_flip_rotate_cutout",
    "evaluate.cutmix": 0.0,
}
KIND = Kind(create, (), FIELDS, PUBLISHED)
