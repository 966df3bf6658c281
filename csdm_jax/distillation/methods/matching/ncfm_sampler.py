"""NCFM with its adversarial sampler: a small network draws the frequencies, and ascends the loss.

Noise N(0, I), one row a frequency, goes through three linear layers of width d, each behind the
batch's own normalisation and LeakyReLU, LeakyReLU and tanh; what comes out are the frequencies. The
weights are part of the state. After every step on the images, a phase of its own ascends the same
term, on the same batch, extractor and noise.

Source: Wang et al. 2025, Dataset Distillation with Neural Characteristic Function.
Cost: three forward passes of the synthetic and two of the real batch, O(n d T + d^2 T) for the
metric, twice; 3 d^2 numbers in the state.
Deviations: the form of the paper. Its public code draws 4 different frequencies where the paper has
`sdd.num_frequencies`, and no configuration of it uses the sampler. The sampler's learning rate is
not lowered on a plateau. One joint step for all classes.
Licence: no licence file.
Status: tested; published form not reproducible: no public configuration uses the sampler.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Context, Inputs, Metrics, Phase
from csdm_jax.distillation.methods.matching import spectral
from csdm_jax.distillation.methods.matching.matching import Matching, State, kind
from csdm_jax.distillation.methods.matching.published import NCFM
from csdm_jax.metric import cfd_loss
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.fields import Field, number

FIELDS = {
    "sdd.num_frequencies": spectral.FIELDS["sdd.num_frequencies"],
    # Of the sampler's gradient ascent.
    "ncfm_sampler.learning_rate": Field(1e-3, number(0.0, 1e6)),
}
LAYERS, SLOPE, EPSILON = 3, 0.2, 1e-5


class Layer(NamedTuple):
    """A linear layer and the normalisation behind it.

    Attributes:
      kernel: `[d, d]`.
      scale, shift: `[d]`; there is no bias, which the normalisation would take away.
    """

    kernel: jax.Array
    scale: jax.Array
    shift: jax.Array


Sampler = tuple[Layer, ...]


def sampler(key: jax.Array, dim: int) -> Sampler:
    """The layers before any ascent, kernels U(-1/sqrt(d), 1/sqrt(d))."""
    bound = dim**-0.5
    return tuple(
        Layer(jax.random.uniform(one, (dim, dim), minval=-bound, maxval=bound), *_units(dim))
        for one in jax.random.split(key, LAYERS)
    )


def _units(dim: int) -> tuple[jax.Array, jax.Array]:
    return jnp.ones(dim), jnp.zeros(dim)


def frequencies(layers: Sampler, noise: jax.Array) -> jax.Array:
    """Frequencies `[T, d]` in (-1, 1) of noise `[T, d]`."""
    rows = noise
    for number_, layer in enumerate(layers):
        rows = rows @ layer.kernel
        rows = (rows - rows.mean(axis=0)) * jax.lax.rsqrt(rows.var(axis=0) + EPSILON)
        rows = rows * layer.scale + layer.shift
        last = number_ == len(layers) - 1
        rows = jnp.tanh(rows) if last else jax.nn.leaky_relu(rows, SLOPE)
    return rows


class Adversarial(Matching):
    """NCFM's distance at the frequencies of a sampler, which ascends."""

    def __init__(self, config: Any, context: Context):
        self._rate = config.ncfm_sampler.learning_rate
        self._shape = (config.sdd.num_frequencies, context.network.feature_dim)
        super().__init__(config, context)
        ascent = Phase(self.ascend, draw=self._draw, views=self._views())
        descent, *others = self.phases  # extractors change after both have read them
        self.phases = (descent, ascent, *others)

    def memory(self, key: jax.Array, supplied: tuple[Any, ...]) -> Sampler:
        """The sampler."""
        del supplied
        return sampler(key, self._shape[1])

    def compare(
        self, real: Ragged, synthetic: Ragged, key: jax.Array, memory: Sampler
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """NCFM's distance at frequencies of the sampler."""
        drawn = frequencies(memory, jax.random.normal(key, self._shape))
        return cfd_loss(real, synthetic, self._context.devices.split_evenly(drawn)), {}

    def ascend(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One step of the sampler up the matching term."""
        real = inputs.batch if inputs.view is None else inputs.view
        assert real is not None
        drawn = self._drawn(inputs.supplied, (), inputs.key, state.queue)
        known, _, synthetic = self.sides(state.stored, drawn, real, gradient=False)

        (scale,) = inputs.numbers or self.numbers

        def term(layers: Sampler) -> jax.Array:
            value, _ = self.compare(known.sample, synthetic, drawn.distance_key, layers)
            return scale * value

        value, gradient = jax.value_and_grad(term)(state.memory)
        moved = jax.tree.map(lambda p, g: p + self._rate * g, state.memory, gradient)
        return state._replace(memory=moved), Metrics(value, {"ascended": value}, {}, {})


def create(config: Any, context: Context) -> Adversarial:
    """NCFM's metric at frequencies that a network chooses to make the images differ most."""
    return Adversarial(config, context)


PUBLISHED = {name: value for name, value in NCFM.items() if name != "sdd.frequency_method"} | {
    "sdd.num_frequencies": 1024,
}
KIND = kind(create, FIELDS, PUBLISHED)
