"""Updates of what is stored: one optimiser for all classes, or one for each."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from csdm_jax.parameterisations import Parameterisation, Stored
from csdm_jax.training.optimisers import optimiser


class Moments(NamedTuple):
    """State of the optimiser, and of the rule that lowers its learning rate on a plateau."""

    optimiser: Any
    plateau: Any


class Updates:
    """The optimiser of synthetic images, as `config.distill` describes it.

    Where a step draws some of the classes, each class has an optimiser of its own, which only a
    step that draws it advances; the learning rate is then not lowered, for losses of different
    classes say nothing of a plateau.

    Args:
      settings: the section `distill` of the configuration.
      parameterisation: brings back what an update has carried out of its range.
      num_classes: number of classes C.
    """

    def __init__(self, settings: Any, parameterisation: Parameterisation, num_classes: int):
        self._parameterisation = parameterisation
        self._num_classes = num_classes
        self.some_classes = settings.classes_per_step not in (0, num_classes)
        rate = settings.learning_rate
        if settings.cosine_to < 1:
            rate = optax.cosine_decay_schedule(rate, settings.steps, settings.cosine_to)
        self._optimiser = optimiser(
            settings.optimiser,
            rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self._plateau = optax.contrib.reduce_on_plateau(
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
            accumulation_size=settings.plateau_window,
        )

    def init(self, stored: Stored) -> Moments:
        """The state before the first update."""
        first = self._optimiser.init
        moments = jax.vmap(first)(self.by_class(stored)) if self.some_classes else first(stored)
        return Moments(moments, self._plateau.init(stored))

    def by_class(self, stored: Stored) -> Stored:
        """Each array with a leading axis of C: `[C, n / C, ...]`."""
        return jax.tree.map(
            lambda leaf: leaf.reshape(self._num_classes, -1, *leaf.shape[1:]), stored
        )

    def of_classes(self, stored: Stored, classes: jax.Array) -> Stored:
        """What is stored of some classes, one after the other; of all as it is."""
        if not self.some_classes:
            return stored
        return jax.tree.map(
            lambda leaf: leaf[classes].reshape(-1, *leaf.shape[2:]), self.by_class(stored)
        )

    def apply(
        self,
        stored: Stored,
        gradient: Stored,
        moments: Moments,
        loss: jax.Array,
        classes: jax.Array,
    ) -> tuple[Stored, Moments]:
        """One update.

        Args:
          stored: what is optimised.
          gradient: of the loss, like `stored`.
          moments: state of the updates.
          loss: scalar, watched for a plateau.
          classes: int32 `[k]`, the classes that the step has drawn.
        """
        if self.some_classes:
            return self._apply_to_some(stored, gradient, moments, classes)
        updates, inner = self._optimiser.update(gradient, moments.optimiser, stored)
        updates, plateau = self._plateau.update(updates, moments.plateau, value=loss)
        moved = self._parameterisation.project(optax.apply_updates(stored, updates))
        return moved, Moments(inner, plateau)

    def _apply_to_some(
        self, stored: Stored, gradient: Stored, moments: Moments, classes: jax.Array
    ) -> tuple[Stored, Moments]:
        before = self.by_class(stored)
        updates, inner = jax.vmap(self._optimiser.update)(
            self.by_class(gradient), moments.optimiser, before
        )
        moved = self.by_class(
            self._parameterisation.project(
                jax.tree.map(lambda x, u: (x + u).reshape(-1, *x.shape[2:]), before, updates)
            )
        )
        chosen = jnp.zeros(self._num_classes, bool).at[classes].set(True)

        def pick(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(chosen.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        moved, inner = jax.tree.map(pick, (moved, inner), (before, moments.optimiser))
        whole = jax.tree.map(lambda leaf, like: leaf.reshape(like.shape), moved, stored)
        return whole, Moments(inner, moments.plateau)
