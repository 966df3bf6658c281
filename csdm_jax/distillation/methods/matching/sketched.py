"""Matching without images: steps that read the sketches of whole classes, made elsewhere.

A view (see `csdm_jax.distillation.views`) of whole classes needs of the images only sums over
them: of cosines and sines of the features, or of the features themselves. Sums of disjoint parts
of the data add up to those of all. What else a step draws (extractor, augmentation, frequencies)
follows from the view's key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import metric
from csdm_jax.distillation.methods.base import Inputs, Method, Metrics, Phase, State
from csdm_jax.distillation.methods.matching.matching import Matching, Real
from csdm_jax.metric.ragged import Ragged
from csdm_jax.sets.distilled import DistilledSet

Sums = Mapping[str, Any]
"""What is added up of each class, by name: arrays `[C, ...]`, with a leading axis for views."""


class Sketches(NamedTuple):
    """Views of whole classes, one after the other.

    Attributes:
      real: the views, with a leading axis V.
      key_data: uint32 `[V, ...]`, of the key with which each was drawn.
    """

    real: Real
    key_data: jax.Array

    @classmethod
    def of(cls, sums: Sums, key_data: Any) -> Sketches:
        """From what `draw` has made of each view, stacked, float32 `[V, C, ...]`."""
        views, classes = np.shape(sums["weight"])
        labels = jnp.tile(jnp.arange(classes, dtype=jnp.int32), (views, 1))
        real = Real(jax.vmap(_sample)(dict(sums)), labels, jnp.ones(views, bool))
        return cls(real, jnp.asarray(key_data))

    def view(self, number: Any) -> tuple[Real, jax.Array]:
        """A view, taken in turn, and its key; `number` is an int, NumPy or JAX."""
        at = number % len(self.key_data)
        key = jax.random.wrap_key_data(self.key_data[at])
        return jax.tree.map(lambda leaf: leaf[at], self.real), key


class FromSketches:
    """A matching method whose steps read views in turn and no image.

    It is supplied with the `Sketches` first, then with what the method itself needs.

    Args:
      method: what to run; its context says the classes and the shape of the images.
    """

    def __init__(self, method: Method):
        self._method = method
        self.steps = method.steps
        self.numbers = getattr(method, "numbers", ())
        self.phases = (Phase(self.step),)

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:
        """That of the method."""
        return self._method.init(key, supplied[1:])

    def result(self, state: State) -> DistilledSet:
        """That of the method."""
        return self._method.result(state)

    def step(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """The method's step on the next view."""
        sketches, *supplied = inputs.supplied
        view, key = sketches.view(inputs.number)
        (phase,) = self._method.phases
        own = Inputs(tuple(supplied), None, key, inputs.number, view, numbers=inputs.numbers)
        return phase.step(state, own)


Draw = Callable[[tuple[Any, ...], jax.Array, jax.Array], tuple[Sums, jax.Array]]


def draw(method: Matching, sizes: tuple[int, ...]) -> Draw:
    """What makes the sums of one view.

    Args:
      method: of a configuration with views.
      sizes: images of each class; 0 for a class that others have.

    Returns:
      A pure function of what the method needs, class-major images uint8 `[N, H, W, ch]` and the
      view's key, to the sums and whether all features were finite. It raises a ValueError for a
      method that keeps more of the images than sums.
    """

    def sums(supplied: tuple[Any, ...], images: jax.Array, key: jax.Array) -> tuple[Sums, Any]:
        classes = jnp.arange(len(sizes), dtype=jnp.int32)
        kept = method.phases[0].views
        if kept is None:
            raise ValueError("a method without views has no sketches: choose csdm, dm or ncfm")
        given = Inputs(supplied, Ragged(images, sizes, classes), key, jnp.int32(0))
        real = kept.make(given)
        return _sums(real.sample), real.finite

    return sums


def _sums(sample: Any) -> Sums:
    """What a view keeps of the real features, as sums."""
    if isinstance(sample, metric.Sketch):
        return {name: getattr(sample, name) for name in ("cosine", "sine", "weight", "squares")}
    one_row = isinstance(sample, Ragged) and {*(sample.sizes or ())} == {1}
    if one_row and sample.weights is not None:  # their mean
        present = sample.weights[:, None] > 0
        totals = jnp.where(present, sample.weights[:, None] * sample.values, 0.0)
        return {"features": totals, "weight": sample.weights}
    raise ValueError(
        "this method and estimator keep the features of single images, which is no sketch: choose "
        "csdm with sdd.estimator=spectral, ncfm or dm"
    )


def _sample(sums: Sums) -> Any:
    """What `_sums` was made of."""
    if "features" not in sums:
        return metric.Sketch(**sums)
    weight = sums["weight"]
    classes = jnp.arange(len(weight), dtype=jnp.int32)
    return Ragged(sums["features"] / weight[:, None], (1,) * len(weight), classes, weight)
