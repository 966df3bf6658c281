"""CAFE: class means of all layers, and class means that tell the real images apart.

The loss of a step is `sum_l w_l ||mean f_l(R_c) - mean f_l(S_c)||^2` over the maps of all layers
and the last features, with w_l of 1 for these and the last map and 0.1 for the maps before; and
`cafe.discrimination` times the cross-entropy of the real images' last features under a linear
classifier, whose weights are the class means of the synthetic ones. Features are those of one
network that is trained on the way: after every update of the images a phase of its own trains it
on them for `cafe.train_steps` steps, and after `cafe.updates` updates a fresh one takes its place.
The network is part of the state.

Source: Wang et al. 2022, CAFE: Learning to Condense Dataset by Aligning Features.
Cost: two forward passes of the synthetic and one of the real batch, of which all maps are in
memory; O(n a) for the metric, of a numbers in the maps; `cafe.train_steps` steps of training.
Deviations: fixed numbers of updates and of steps of training, where CAFE stops by the accuracy on
queries; with recipe=published the ten and ten that are its least. The cross-entropy is the mean
over the images of a class, summed over the classes, so that a class counts alike whatever its size:
0.01 of a sum over 256 images is 2.56 of it. Unit features and maps, and the calibration by trained
extractors, in our recipe; there all logits are cosines. With recipe=published the learning rate
stays. The cross-entropy of the real images under the network, which has no gradient to the
synthetic ones, is left out, and the last features count once, where its public code adds them a
second time. A batch is drawn in every step, whatever `distill.view_uses`; `distill.extractor`
changes nothing. It needs a network that tells its maps: the ConvNet.
Licence: no licence file.
Status: tested; published settings without augmentation, for ten images of a class.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from csdm_jax.distillation.methods.base import Context, Inputs, Metrics, Phase
from csdm_jax.distillation.methods.matching import dm, layered
from csdm_jax.distillation.methods.matching.matching import Matching, State, kind
from csdm_jax.metric import unit_features
from csdm_jax.metric.ragged import Ragged
from csdm_jax.networks import Params
from csdm_jax.runtime import health
from csdm_jax.runtime.fields import RATE, Field, integer, number
from csdm_jax.training import online

FIELDS = {
    # Weight of the cross-entropy of real images under the synthetic class means.
    "cafe.discrimination": Field(2.56, number(0.0, 1e6)),
    # Updates of the images on one network.
    "cafe.updates": Field(10, integer(1, 1_000_000)),
    # Steps of that network's training after each, on at most this many synthetic images.
    "cafe.train_steps": Field(10, integer(1, 10_000)),
    "cafe.batch": Field(256, integer(1, 1_000_000)),
    "cafe.learning_rate": Field(0.01, RATE),
}
SCHEDULE = "trained"
LATE, EARLY = 1.0, 0.1
"""Weights of the last two levels, the last map and the last features, and of those before."""


class CAFE(Matching):
    """Class means of all layers of the network in the memory, and its training.

    Args:
      config: the experiment's configuration.
      context: with a network whose features are those of all levels.
      last: how many of the features are the last layer's; they come last.
    """

    def __init__(self, config: Any, context: Context, last: int):
        super().__init__(config, context, schedule=SCHEDULE)
        self._own, self._last = config.cafe, last
        self._training = optax.sgd(config.cafe.learning_rate)
        self.phases = (*self.phases, Phase(self.train, times=config.cafe.train_steps))

    def _views(self) -> None:
        """None: what a network says changes while it is trained."""

    def memory(self, key: jax.Array, supplied: tuple[Any, ...]) -> Params:
        """Weights of the network, which nobody has trained yet."""
        del supplied
        return self._context.network.init(key)

    def networks(
        self, supplied: tuple[Any, ...], memory: Params, key: jax.Array, queue: Any = ()
    ) -> tuple[Params, Params]:
        """The network, and an extractor that calibrates."""
        return memory, super().networks(supplied, memory, key, queue)[1]

    def compare(
        self, real: Ragged, synthetic: Ragged, key: jax.Array, memory: Params
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The gaps between the means, and how well the synthetic ones tell real images apart."""
        del memory
        gaps, parts = dm.linear_mmd(real, synthetic, key)
        logits = real.values[:, -self._last :] @ synthetic.means()[:, -self._last :].T
        own = dataclasses.replace(real, classes=None).ids  # among the classes of the step
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, own)
        per_class = real.with_values(losses[:, None]).means()[:, 0]
        loss = gaps + self._own.discrimination * jnp.sum(per_class)
        return loss, parts | {"discrimination": per_class}

    def train(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One step of the network on synthetic images; its last one puts in a fresh network."""
        row_key, fresh_key = jax.random.split(inputs.key)
        decoded = self._context.parameterisation.decode(state.stored)
        count, classes = len(decoded), self._context.num_classes
        rows = online.drawn(row_key, count, self._own.batch)
        images, labels = self._context.normaliser(decoded[rows]), rows // (count // classes)
        network, before = self._context.network, online.begin(state.memory, self._training)
        targets = jax.nn.one_hot(labels, classes)
        (moved, _), value, right = online.step(network, self._training, before, images, targets)
        last = (inputs.number + 1) % (self._own.updates * self._own.train_steps) == 0
        weights = jax.lax.cond(last, lambda: network.init(fresh_key), lambda: moved)
        scalars = {"network_loss": value, "network_accuracy": right}
        finite = {"network": health.finite(moved)}
        return state._replace(memory=weights), Metrics(value, scalars, {}, finite)


def create(config: Any, context: Context) -> CAFE:
    """Class means of all layers of a network that is trained on the images on the way."""
    unit = config.distill.features == "unit"

    def tell(features: jax.Array, maps: Any) -> list[jax.Array]:
        levels = [level.reshape(len(level), -1) for level in (*maps, features)]
        weights = [*[EARLY] * (len(levels) - 2), LATE, LATE]
        rows = map(unit_features, levels) if unit else levels
        return [weight**0.5 * row for weight, row in zip(weights, rows, strict=True)]

    network = layered.told(context.network, tell)
    # The network's features are what is compared: nothing more is done to them.
    raw = config.copy_and_resolve_references()
    raw.distill.features = "raw"
    return CAFE(raw, dataclasses.replace(context, network=network), context.network.feature_dim)


PUBLISHED = dm.PUBLISHED | {
    "distill.initialisation": "noise",
    "distill.learning_rate": 0.004,  # 0.1, of pixels divided by deviations of 0.2
    "distill.plateau_patience": 10_000_000,  # the learning rate stays
    "distill.augmentation": "none",
    "cafe.discrimination": 2.56,  # 0.01 of each of 256 images
    "cafe.updates": 10,
    "cafe.train_steps": 10,
    "cafe.batch": 256,
    "cafe.learning_rate": 0.01,
    "evaluate.epochs": 600,
    "evaluate.augmentation": "none",
}
KIND = kind(create, FIELDS, PUBLISHED, layered.check("cafe"), schedule=SCHEDULE)
