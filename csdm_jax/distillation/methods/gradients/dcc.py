"""DCC: the gradients of all classes together point the same way.

    D( mean_c g(R_c), mean_c g(S_c) ),

with DC's distance: what the gradients of all classes share cancels, and what tells classes apart is
matched. Every class has the same weight in both means, however many images it has. In the first
`dcc.warm_up` rounds a network's first `dcc.early` ones take DC's distance, class by class.

A phase of its own follows on the matching of single classes, once for each: with the gradient of
the distance with respect to the mean at hand, it differentiates each class's part of that to the
pixels.

Source: Lee et al. 2022, Dataset Condensation with Contrastive Signals.
Cost: as `dc`, with a second-order gradient of the synthetic images once more, and twice the
network's weights in the state.
Deviations: the warm-up is counted in rounds of the run, not in networks; pixels in [0, 1], clipped,
where they are normalised and free; steps of the network's training, not epochs. The `loss` of a
run's metrics is DC's distance, `matching` what is descended.
Licence: no licence file.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from csdm_jax.distillation.methods.base import Context, Inputs, Kind, Metrics, Phase
from csdm_jax.distillation.methods.gradients import dc, published
from csdm_jax.distillation.methods.gradients.gradients import (
    Found,
    State,
    Turn,
    put,
)
from csdm_jax.networks import Params
from csdm_jax.parameterisations import Stored
from csdm_jax.runtime import health
from csdm_jax.runtime.fields import Field, integer

FIELDS = dc.FIELDS | {
    # Rounds of the run in which early rounds of a network match class by class; 0 for none.
    "dcc.warm_up": Field(100, integer(0, 10_000_000)),
    "dcc.early": Field(10, integer(1, 1_000_000)),
}


class Sums(NamedTuple):
    """Gradients to the weights, summed over the classes of a round up to now."""

    real: Params
    synthetic: Params


class DCC(dc.DC):
    """The gradients of all classes, by their common direction."""

    def __init__(self, config: Any, context: Context, *, augmented: bool):
        super().__init__(config, context, augmented=augmented)
        self._warm_up, self._early = config.dcc.warm_up, config.dcc.early
        match, *others = self.phases
        self.phases = (match, Phase(self.contrast, self._turns), *others)

    def no_sums(self, weights: Params) -> Sums:
        """Zeros."""
        nothing = jax.tree.map(jnp.zeros_like, weights)
        return Sums(nothing, nothing)

    def add(self, sums: Sums, turn: Turn, real: Params, synthetic: Params) -> Sums:
        """Both sums with one class more; a round begins anew."""
        both = Sums(real, synthetic)
        return jax.tree.map(lambda old, own: jnp.where(turn.first, 0.0, old) + own, sums, both)

    def loss(self, found: Found, classes: jax.Array, round_: jax.Array) -> jax.Array:
        """The distance of the means, or of single classes while it is early."""
        alone = super().loss(found, classes, round_)
        return jnp.where(self._class_wise(round_), alone, self._distance(*self._means(found)))

    def _class_wise(self, round_: jax.Array) -> jax.Array:
        return (round_ < self._warm_up) & (round_ % self._own.restart < self._early)

    def _means(self, found: Found) -> Sums:
        return jax.tree.map(lambda leaf: leaf / self._turns, found.sums)

    def contrast(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """The gradient of the means' distance to the pixels of one class.

        Its number is that of the class's step in `match`, so its key and augmentation are, too.
        """
        turn, means = self._turn(inputs), self._means(state.found)
        slope = jax.grad(self._distance, argnums=1)(*means)
        weights, drawn = state.network.weights, self._drawn(turn)

        def along(stored: Stored) -> jax.Array:
            own = self.gradient(weights, self._side(stored, turn.label), drawn)
            return optax.tree.vdot(slope, own) / self._turns

        value, pixels = jax.value_and_grad(along)(self._of_class(state.stored, turn.label))
        alone = jax.tree.map(lambda leaf: leaf[turn.label], state.found.pixels)
        early = self._class_wise(turn.round)
        pixels = jax.tree.map(lambda own, joint: jnp.where(early, own, joint), alone, pixels)
        found = state.found._replace(pixels=put(state.found.pixels, turn.label, pixels))
        finite = {"gradient": health.finite(pixels)}
        return state._replace(found=found), Metrics(value, {}, {}, finite)


def create(config: Any, context: Context) -> DCC:
    """DC on the gradient that the classes have together, in which they tell themselves apart."""
    return DCC(config, context, augmented=False)


# Of 1000 networks the first 250; real images to begin with, where DC has noise.
WARM_UP = {"distill.initialisation": "random", "dcc.warm_up": 2500, "dcc.early": 10}
KIND = Kind(create, fields=FIELDS, published=published.DC | WARM_UP)
