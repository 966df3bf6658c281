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
      values: `[N, ...]`, any dtype; or `[C, n, ...]` where all classes have n rows.
      sizes: rows of each class, in order; static, they add up to N. None for `[C, n, ...]`.
      classes: int32 `[k]`, which classes these are; None where their order says it.
      weights: `[N]` or `[C, n]`, non-negative, 0 for a row that only pads a small class; None when
        all rows of a class count alike.
    """

    values: jax.Array
    sizes: tuple[int, ...] | None
    classes: jax.Array | None = None
    weights: jax.Array | None = None

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return self.values.shape[0] if self.sizes is None else len(self.sizes)

    def _counts(self) -> np.ndarray:
        """Rows of each class, whichever way the values lie."""
        if self.sizes is None:
            raise ValueError(
                f"classes {self.values.shape} of one size have no sizes here: put them one after "
                "the other, [N, ...], with sizes"
            )
        return np.array(self.sizes)

    def with_values(self, values: jax.Array) -> Ragged:
        """Other values `[N, ...]` of the same rows: the images of row numbers, their features."""
        return dataclasses.replace(self, values=values)

    @property
    def ids(self) -> jax.Array:
        """Class of each row, int32 `[N]`."""
        sizes = self._counts()
        classes = np.arange(len(sizes), dtype=np.int32) if self.classes is None else self.classes
        return jnp.repeat(classes, sizes, total_repeat_length=int(sizes.sum()))

    def means(self) -> jax.Array:
        """`[k, d]`, the weighted mean of each class's rows `[N, d]`."""
        totals = self.totals()
        return self._total(self._weights[:, None] * self.values) / totals[:, None]

    def totals(self) -> jax.Array:
        """`[k]`, each class's sum of weights; the number of its rows where none are weighted."""
        return self._total(self._weights)

    @property
    def _weights(self) -> jax.Array:
        return jnp.ones(len(self.values)) if self.weights is None else self.weights

    def _total(self, rows: jax.Array) -> jax.Array:
        sizes = self._counts()
        members = np.repeat(np.arange(len(sizes)), sizes)
        return jax.ops.segment_sum(rows, members, len(sizes), indices_are_sorted=True)

    def by_class(self) -> list[tuple[jax.Array, jax.Array | None]]:
        """Values and weights of each class; sizes are static, so slices are free."""
        sizes = self._counts().tolist()
        ends = itertools.accumulate(sizes)
        spans = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        weights = self.weights
        return [(self.values[s], None if weights is None else weights[s]) for s in spans]
