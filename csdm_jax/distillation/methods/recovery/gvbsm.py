"""G-VBSM: statistics of every layer's input and output, under several networks in turn.

Of what each convolution gives, mean and variance of every channel are matched with those of the
training set; of what it reads, those of every channel and of every patch of 4 x 4 pixels. A step
leaves out the latter of a layer with some probability. The synthetic side is a moving average over
the steps of a network, with the whole gradient of its newest part. A last term, of the eigenvalues
l of the Gram matrix of each class's images, keeps these apart: KL(softmax(l / 4) || softmax(l)),
its first argument fixed.

The training set counts as it is: on long tails the statistics are mostly those of the head, and a
class of one or two images is seen through the cross-entropy alone (`rldd` matches each class).

Source: Shao et al. 2024, Generalized Large-Scale Data Condensation via Various Backbone and
Statistical Matching; its public code.
Cost: a forward pass of the synthetic images, all at once, and exponentials of a Gram matrix for
each class, on every device; before the first step a pass of the training set through every network.
Networks are part of the state.
Deviations: several networks of one architecture, where the authors have five architectures. All
synthetic images in every step, where theirs draw a hundred, and their moving average begins at 0,
ours with its first part and goes on in steps that leave a layer out. Diversity is that of the
images as they are, not as they are augmented. Real statistics of whole images that nothing
augments, and no rolling of synthetic ones. Adam's second moment decays by 0.999, not 0.9. Labels
are made once, at the final images; students learn them by `evaluate.soft_loss`, where the authors'
learn logits by squared error and 0.15 times cross-entropy; their rate falls by our schedule, not
along a cosine. The published rate is scaled from normalised pixels to ours, which lie in [0, 1].
Licence: no licence file.
Status: tested; the ConvNet alone of the published networks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.distillation.methods.base import Context, Kind
from csdm_jax.distillation.methods.recovery import statistics
from csdm_jax.distillation.methods.recovery.recovery import (
    CONSTANT,
    NEEDS,
    Observed,
    Recovery,
    Sight,
)
from csdm_jax.distillation.methods.recovery.statistics import Convolutions, Spread
from csdm_jax.networks import Params
from csdm_jax.runtime.fields import MOMENTUM, UNIT, Field, number

FIELDS = {
    # Weights of statistics and diversity beside the cross-entropy.
    "gvbsm.statistics": Field(0.01, number(0.0, 1e6)),
    "gvbsm.diversity": Field(1.0, number(0.0, 1e6)),
    # Probability with which a step leaves out the statistics of what a layer reads.
    "gvbsm.drop": Field(0.4, UNIT),
    # Share of the older steps in the statistics of the synthetic images.
    "gvbsm.average": Field(0.8, MOMENTUM),
}
FIRST = 10.0
"""Weight of the statistics of what the first layer reads; of all others it is 1."""
TEMPERATURE = 4.0
ORDER = 10
"""Of the power series of the exponential, at matrices of norm 1 or less."""


def all_layers(seen: Convolutions) -> list[Spread]:
    """Of each layer the output's channels, then the input's channels and patches."""
    found = []
    for read, given in seen:
        found += [statistics.of_channels(given), statistics.of_channels(read)]
        found.append(statistics.of_patches(read))
    return found


class Average(NamedTuple):
    """Statistics of the synthetic images under each of K networks.

    Attributes:
      own: `[K, c]` each.
      steps: int32 `[K]`, of how many steps.
    """

    own: list[Spread]
    steps: jax.Array


def gibbs(matrices: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log tr exp(G), `[k]`, and exp(G) / tr exp(G), of symmetric matrices G `[k, m, m]`.

    These are the logarithm of the summed exponentials of the eigenvalues, and the matrix with their
    softmax in place of them. By a power series at G / 2^s, squared s times: in products alone, so
    that a step calls no LAPACK, and precise to a rounding error of G.
    """
    unit = jnp.eye(matrices.shape[-1])
    largest = jnp.max(jnp.sum(jnp.abs(matrices), axis=-1))  # bounds the eigenvalues
    squarings = jnp.ceil(jnp.log2(jnp.maximum(largest, 1.0))).astype(jnp.int32)
    small = matrices / 2.0**squarings
    series = unit + jnp.zeros_like(small)
    for order in range(ORDER, 0, -1):
        series = unit + jnp.matmul(small, series, precision="highest") / order

    def normal(matrix: jax.Array, log: jax.Array) -> tuple[jax.Array, jax.Array]:
        trace = jnp.trace(matrix, axis1=-2, axis2=-1)
        return matrix / trace[:, None, None], log + jnp.log(trace)

    def squared(_: Any, found: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        matrix, log = found
        return normal(jnp.matmul(matrix, matrix, precision="highest"), 2 * log)

    start = normal(series, jnp.zeros(len(matrices)))
    matrix, log = jax.lax.fori_loop(0, squarings, squared, start)
    return log, matrix


def diversity(images: jax.Array) -> jax.Array:
    """KL(softmax(l / 4) || softmax(l)) of the eigenvalues l of X X', summed over classes.

    Args:
      images: `[k, m, ...]`; X is `[m, p]`, the images of a class, flattened.
    """
    rows = images.reshape(*images.shape[:2], -1)
    gram = jnp.matmul(rows, rows.swapaxes(1, 2), precision="highest")
    fixed = jax.lax.stop_gradient(gram)
    (log_warm, warm), (log_cold, cold) = gibbs(fixed / TEMPERATURE), gibbs(fixed)
    energy = jnp.sum(warm * fixed, axis=(1, 2))
    value = log_cold - log_warm - (1 - 1 / TEMPERATURE) * energy
    # Its gradient to the Gram matrix, the first argument fixed.
    return jnp.sum(value) + jnp.sum((cold - warm) * (gram - fixed))


class GVBSM(Recovery):
    """Statistics of all images together."""

    def __init__(self, config: Any, context: Context):
        super().__init__(config, context, config.gvbsm.statistics, all_layers)
        self._own = config.gvbsm

    def observe(self, params: Params) -> tuple[Params, list[Spread]]:
        """The network as it is, and the statistics of the whole training set."""
        classes = statistics.of_classes(self._context, params, all_layers)
        counts = np.array(self._context.counts)
        return params, [statistics.pooled(own, counts) for own in classes]

    def memory(self, observed: Observed) -> Average:
        """No step is in the average yet."""
        own = jax.tree.map(jnp.zeros_like, observed.real)
        return Average(own, jnp.zeros(len(own[0].mean), jnp.int32))

    def gap(self, sight: Sight, memory: Average) -> tuple[jax.Array, Average]:
        """The sum over the statistics that are not left out; the average with this step in it."""
        older = jnp.where(memory.steps[sight.place] == 0, 0.0, self._own.average)
        before = jax.tree.map(lambda x: x[sight.place], memory.own)
        new = [statistics.pooled(own) for own in sight.own]
        now = jax.tree.map(lambda a, b: _moved(older, a, b), before, new)
        pairs = zip(now, sight.real, strict=True)
        each = jnp.stack([statistics.distance(own, real) for own, real in pairs]).reshape(-1, 3)
        kept = jax.random.bernoulli(sight.key, 1 - self._own.drop, (len(each), 1))
        kept = jnp.repeat(kept, 2, axis=1)  # both of what a layer reads, or neither
        weights = jnp.concatenate([jnp.ones((len(each), 1)), kept], axis=1)
        weights = weights.at[0, 1:].multiply(FIRST)
        fixed = jax.lax.stop_gradient(now)
        own = jax.tree.map(lambda all_, one: all_.at[sight.place].set(one), memory.own, fixed)
        return jnp.sum(weights * each), Average(own, memory.steps.at[sight.place].add(1))

    def regulariser(self, images: jax.Array) -> jax.Array:
        """The weighted diversity."""
        return self._own.diversity * diversity(images)


def _moved(older: jax.Array, average: jax.Array, new: jax.Array) -> jax.Array:
    """The average with a new part in it, and the whole gradient of that part, as published."""
    moved = jax.lax.stop_gradient(older * average + (1 - older) * new)
    return moved + new - jax.lax.stop_gradient(new)


def create(config: Any, context: Context) -> GVBSM:
    """Statistics of all layers' inputs and outputs under several networks, which label images."""
    return GVBSM(config, context)


PUBLISHED = {
    "network.name": "convnet_batch_norm",
    "network.width": 128,
    "extractors.count": 5,
    "extractors.epochs": 5,
    "extractors.batch": 64,
    "extractors.optimiser": "sgd",
    "extractors.learning_rate": 0.05,
    "extractors.momentum": 0.9,
    "extractors.weight_decay": 0.0,
    "extractors.decay_at": (),
    "extractors.augmentation": "crop_flip",
    "extractors.cutmix": 0.0,
    "distill.parameterisation": "pixels",
    "distill.initialisation": "noise",
    "distill.steps": 4000,
    "distill.optimiser": "adamw",
    "distill.learning_rate": 0.013,  # 0.05, of pixels divided by deviations of 0.26
    "distill.momentum": 0.5,
    "distill.weight_decay": 0.0,
    "distill.cosine_to": 0.0,
    "distill.plateau_patience": CONSTANT,
    "distill.augmentation": "crop_flip",
    "gvbsm.statistics": 0.01,
    "gvbsm.diversity": 1.0,
    "gvbsm.drop": 0.4,
    "gvbsm.average": 0.8,
    "evaluate.epochs": 1000,
    "evaluate.optimiser": "adamw",
    "evaluate.learning_rate": 1e-3,
    "evaluate.weight_decay": 0.0,
}
KIND = Kind(create, NEEDS, FIELDS, PUBLISHED)
