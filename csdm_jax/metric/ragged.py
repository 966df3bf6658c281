"""Rows of classes of different sizes, as one array: images, features or row numbers."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["values", "classes", "weights"],
    meta_fields=["sizes"],
)
@dataclasses.dataclass(frozen=True)
class Ragged:
    """What belongs to several classes, one class after the other.

    Attributes:
      values: `[N, ...]`, any dtype.
      sizes: rows of each class, in order; static, they add up to N.
      classes: int32 `[k]`, which classes these are.
      weights: float32 `[N]`, 0 for a row that only pads a small class; None when all count alike.
    """

    values: jax.Array
    sizes: tuple[int, ...]
    classes: jax.Array
    weights: jax.Array | None = None

    def with_values(self, values: jax.Array) -> Ragged:
        """Other values `[N, ...]` of the same rows: the images of row numbers, their features."""
        return dataclasses.replace(self, values=values)

    @property
    def ids(self) -> jax.Array:
        """Class of each row, int32 `[N]`."""
        total = sum(self.sizes)
        return jnp.repeat(self.classes, np.array(self.sizes), total_repeat_length=total)

    def means(self) -> jax.Array:
        """`[k, d]`, the weighted mean of each class's rows `[N, d]`."""
        weights = jnp.ones(len(self.values)) if self.weights is None else self.weights
        members = np.repeat(np.arange(len(self.sizes)), self.sizes)

        def total(rows: jax.Array) -> jax.Array:
            return jax.ops.segment_sum(rows, members, len(self.sizes), indices_are_sorted=True)

        return total(weights[:, None] * self.values) / total(weights)[:, None]

    def by_class(self) -> list[tuple[jax.Array, jax.Array | None]]:
        """Values and weights of each class; sizes are static, so slices are free."""
        ends = itertools.accumulate(self.sizes)
        spans = [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        weights = self.weights
        return [(self.values[s], None if weights is None else weights[s]) for s in spans]
