"""Recovery: the recipe that G-VBSM and RLDD share, for any statistics.

    min_S  mean_s CE(f_k(A(s)), y_s) + weight * distance of the statistics of S and of R under f_k

One step takes the next network of the pool, augments every synthetic image by numbers of its own,
and makes one update. No real image is read in a step: the statistics of the training set, under
each network, are computed before the first. The labels of the distilled set are the mean logits of
these networks at the final images.

A method of this family says which statistics it describes images by, and overrides `observe`
(networks as they serve, and what is to be matched), `gap` (the distance) and, where it needs them,
`memory` and `regulariser`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment
from csdm_jax.data.device import draw_class_batches
from csdm_jax.distillation.features import stored_logits
from csdm_jax.distillation.methods.base import (
    Context,
    Inputs,
    Metrics,
    Phase,
    initial_images,
)
from csdm_jax.distillation.methods.recovery.statistics import Describe, Spread
from csdm_jax.distillation.needs import Pool
from csdm_jax.distillation.updates import Moments, Updates
from csdm_jax.networks import Params
from csdm_jax.parameterisations import Stored
from csdm_jax.runtime import health
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.training import extractors

NEEDS = (Pool(),)
CONSTANT = 10_000_000
"""Windows without progress after which a plateau is one: never. For `distill.plateau_patience`."""


class Observed(NamedTuple):
    """Networks that look at images, and what they are to see.

    Attributes:
      networks: parameters, with a leading axis of K.
      real: statistics of the training set, likewise.
    """

    networks: Params
    real: list[Spread]


class State(NamedTuple):
    """The images, the state of their updates, the networks, and the method's memory."""

    stored: Stored
    moments: Moments
    observed: Observed
    memory: Any


class Sight(NamedTuple):
    """What a network sees of the images of a step.

    Attributes:
      own: statistics of each image, `[k * m, c]`, class-major.
      real: those to be matched.
      classes: int32 `[k]`.
      place: int32 scalar, which network.
      key: of the step.
    """

    own: list[Spread]
    real: list[Spread]
    classes: jax.Array
    place: jax.Array
    key: jax.Array


@jax.jit
def _one(stacked: Any, place: jax.Array) -> Any:
    """One network's part of what is stacked."""
    return jax.tree.map(lambda leaf: leaf[place], stacked)


class Recovery:
    """A method that matches statistics under the networks of the pool.

    Args:
      config: the experiment's configuration.
      context: data, network and parameterisation.
      weight: of the statistics.
      describe: which statistics of each image count.
    """

    def __init__(self, config: Any, context: Context, weight: float, describe: Describe):
        self.steps = config.distill.steps
        self.phases = (Phase(self.step),)
        self._config, self._context, self._weight = config.distill, context, weight
        self._describe = describe
        self._updates = Updates(config.distill, context.parameterisation, context.num_classes)
        self._augmentation = augment.Augmentation.parse(
            config.distill.augmentation, mode=config.distill.augmentation_mode
        )
        self._known: tuple[extractors.Pool, Observed] | None = None

    def observe(self, params: Params) -> tuple[Params, list[Spread]]:
        """One network as it serves, and the statistics to be matched under it."""
        raise NotImplementedError

    def gap(self, sight: Sight, memory: Any) -> tuple[jax.Array, Any]:
        """The distance of the statistics, a scalar, and the memory after the step."""
        raise NotImplementedError

    def memory(self, observed: Observed) -> Any:
        """What the state holds beside images and networks before the first step: nothing."""
        del observed
        return ()

    def regulariser(self, images: jax.Array) -> jax.Array | None:
        """What is added to the loss, of images `[k, m, H, W, ch]`, normalised: nothing."""
        del images
        return None

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:
        """Images of the start, chosen by the networks where it asks for any; real statistics."""
        (pool,) = supplied
        observed = self._observed(pool)
        own = (extractors.Pool(pool.initial, observed.networks),)
        stored = initial_images(self._context, self._config.ipc, key, own)
        return State(stored, self._updates.init(stored), observed, self.memory(observed))

    def _observed(self, pool: extractors.Pool) -> Observed:
        """The networks of a pool as they serve: computed once, for all runs."""
        if self._known is None or self._known[0] is not pool:
            networks = [_one(pool.trained, np.int32(place)) for place in range(pool.size)]
            found = [self.observe(params) for params in networks]
            stacked = jax.tree.map(lambda *leaf: jnp.stack(list(map(jnp.float32, leaf))), *found)
            self._known = pool, Observed(*stacked)
        return self._known[1]

    def result(self, state: State) -> DistilledSet:
        """The images with the mean of the networks' logits."""
        networks = state.observed.networks
        labels = stored_logits(self._context, extractors.Pool(networks, networks), state.stored)
        return self._context.distilled(state.stored, labels, logits=True)

    def _classes(self, key: jax.Array) -> jax.Array:
        """The classes of a step."""
        ones = (1,) * self._context.num_classes
        classes = draw_class_batches(ones, key, 1, self._config.classes_per_step).classes
        assert classes is not None
        return classes

    def step(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One update of all images, or of those of the classes that are drawn."""
        keys = jax.random.split(inputs.key, 3)
        classes = self._classes(keys[0])
        size = len(jax.tree.leaves(state.observed.networks)[0])
        place = inputs.number % size
        params, real = _one(state.observed, place)

        def loss_of(stored: Stored) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
            decoded = self._context.parameterisation.decode(
                self._updates.of_classes(stored, classes)
            )
            images = self._context.normaliser(decoded)
            viewed = augment.augment_each(self._augmentation, keys[1], images)
            logits, _, seen = self._context.network.apply_with_convolutions(params, viewed)
            labels = jnp.repeat(classes, len(images) // len(classes))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            sight = Sight(self._describe(seen), real, classes, place, keys[2])
            gap, memory = self.gap(sight, state.memory)
            scalars = {"cross_entropy": jnp.mean(losses), "statistics": gap}
            loss = scalars["cross_entropy"] + self._weight * gap
            by_class = images.reshape(len(classes), -1, *images.shape[1:])
            if (more := self.regulariser(by_class)) is not None:
                loss, scalars = loss + more, scalars | {"regulariser": more}
            return loss, (scalars, memory)

        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (scalars, memory)), gradient = gradient_of(state.stored)
        stored, moments = self._updates.apply(state.stored, gradient, state.moments, loss, classes)
        scalars |= {
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate_factor": moments.plateau.scale,
        }
        finite = {
            "extractor weights": health.finite(params),
            "real statistics": health.finite(real),
            "pixels": health.finite(state.stored),
            "gradient": health.finite(gradient),
            "updated pixels": health.finite(stored),
        }
        which = {"classes": classes} if self._updates.some_classes else {}
        moved = State(stored, moments, state.observed, memory)
        return moved, Metrics(loss, scalars, which, finite)
