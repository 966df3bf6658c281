"""Sketches: a sample's characteristic function as sums, which add up.

The sums of `w_j cos(t.x_j)` and `w_j sin(t.x_j)` at given frequencies, with the sum of the weights,
say all that SDD and its relatives ask of a sample, in a size that does not depend on its rows. Two
sketches at the same frequencies merge by adding: of batches of a stream, of shards, of processes,
in any order, to rounding.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from csdm_jax.metric.checks import (
    as_features,
    check_matmul_dtype,
    check_sample,
    checked_scales,
    known,
)
from csdm_jax.metric.numerics import compute_dtype, row_chunks, varying_like
from csdm_jax.metric.ragged import Ragged
from csdm_jax.metric.waves import phases_of, sums_of, waves_of

TILE = 512  # rows at a time


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["cosine", "sine", "weight", "squares"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Sketch:
    """Sums over the rows of each class. A pytree: `jax.lax.psum` of one merges shards.

    Attributes:
        cosine: `sum_j w_j cos(t.x_j)`, shape [C, T], or [T] for one class.
        sine: `sum_j w_j sin(t.x_j)`, likewise.
        weight: `sum_j w_j`, shape [C] or scalar; the number of rows where none were weighted.
        squares: `sum_j w_j^2`, likewise, which the unbiased form of `sdd` needs.

    >>> one = sketch(jnp.zeros((5, 2)), jnp.ones((3, 2)))
    >>> one.cosine.tolist(), float(one.weight)
    ([5.0, 5.0, 5.0], 5.0)
    """

    cosine: jax.Array
    sine: jax.Array
    weight: jax.Array
    squares: jax.Array

    @property
    def num_classes(self) -> int:
        """How many classes there are; 1 for a single one."""
        return 1 if self.cosine.ndim == 1 else self.cosine.shape[0]

    def spectrum(self) -> tuple[jax.Array, jax.Array]:
        """Real and imaginary part of the characteristic functions, each [C, T]."""
        weight = jnp.reshape(self.weight, (-1, 1))
        columns = self.cosine.shape[-1]
        return self.cosine.reshape(-1, columns) / weight, self.sine.reshape(-1, columns) / weight


def sketch(
    x: ArrayLike | Ragged,
    frequencies: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    labels: ArrayLike | None = None,
    num_classes: int | None = None,
    scales: tuple[float, ...] | None = None,
    matmul_dtype: DTypeLike | None = None,
) -> Sketch:
    """The sums that `sdd`, `sdd_loss`, `sdd_parts` and `cfd_loss` take in place of features.

    Args:
        x: features, shape [n, d] (one class, or as `labels` say) or [C, n, d], or `Ragged`; any
            real dtype, computed in float32 or wider. Memory beside them is that of 512 rows.
        frequencies: shape [T, d], the same for all sketches that are merged or compared.
        weights: one per row, non-negative and finite; 1 each if left out. A row of weight zero is
            absent, even if it holds NaN. Sketches that are merged need weights of one scale.
        labels: int, shape [n], the class of each row of [n, d] features, in any order; a row
            whose label is none of 0 ... C - 1 is absent. They may be traced.
        num_classes: C, with `labels`.
        scales: K factors of the frequencies, from one product; sums then have K T columns.
        matmul_dtype: as for `sdd_loss`.

    Returns:
        A `Sketch`, float32, of one class or of C. A class without rows has weight 0; it has no
        characteristic function until one with rows is merged in.

    Raises:
        ValueError: if shapes disagree, the sample is empty, known weights are negative or not
            finite, a scale is not positive, or one of `labels` and `num_classes` is given without
            the other.

    >>> frequencies = jnp.array([[1.0], [2.0]])
    >>> stream = (sketch(jnp.full((3, 1), value), frequencies) for value in (0.0, jnp.pi))
    >>> whole = functools.reduce(merge, stream)
    >>> whole.cosine.round(4).tolist(), float(whole.weight)
    ([0.0, 6.0], 6.0)
    """
    frequencies = as_features("frequencies", frequencies)
    sample, one_class = _rows("x", x, weights, labels, num_classes)
    rows, members, weight, classes = sample
    check_sample("x", rows, frequencies, None, ranks=(2,))
    check_matmul_dtype(matmul_dtype)
    scales = checked_scales(scales)
    dtype = compute_dtype(rows, frequencies)
    weight = jnp.ones(rows.shape[0], dtype) if weight is None else weight.astype(dtype)
    numbers = jnp.arange(classes, dtype=members.dtype)

    def add_tile(totals: Sketch, tile: tuple[jax.Array, ...]) -> tuple[Sketch, None]:
        x, w, member = tile
        x = jnp.where(w[:, None] > 0, x.astype(dtype), 0.0)  # 0 * NaN would be NaN
        sines, cosines = waves_of(phases_of(x, frequencies, matmul_dtype), scales)
        by_class = jnp.where(member[None, :] == numbers[:, None], w[None, :], 0.0)
        sums = [sums_of(by_class, waves) for waves in (cosines, sines)]
        part = Sketch(
            sums[0], sums[1], jnp.sum(by_class, axis=1), jnp.sum(jnp.square(by_class), axis=1)
        )
        return merge(totals, part), None

    columns = frequencies.shape[0] * len(scales or (1,))
    zeros = [jnp.zeros((classes, columns), dtype)] * 2 + [jnp.zeros(classes, dtype)] * 2
    zeros = [varying_like(zero, rows, weight, members, frequencies) for zero in zeros]
    start = Sketch(zeros[0], zeros[1], zeros[2], zeros[3])
    size = min(TILE, rows.shape[0]) if isinstance(rows.shape[0], int) else TILE
    tiles = tuple(row_chunks(array, size) for array in (rows, weight, members))
    totals, _ = jax.lax.scan(jax.checkpoint(add_tile, prevent_cse=False), start, tiles)
    return jax.tree.map(lambda leaf: leaf[0], totals) if one_class else totals


def merge(a: Sketch, b: Sketch) -> Sketch:
    """The sketch of both samples together: the sum of the sums.

    Args:
        a: at some frequencies.
        b: at the same ones, of the same classes; it cannot be told from the sums whether it is.

    Returns:
        A `Sketch` of the same shapes.

    Raises:
        ValueError: if the shapes disagree.

    >>> one = sketch(jnp.zeros((2, 1)), jnp.ones((1, 1)))
    >>> float(merge(one, one).weight)
    4.0
    """
    if a.cosine.shape != b.cosine.shape:
        raise ValueError(
            f"sketches of shapes {a.cosine.shape} and {b.cosine.shape} do not merge: make both of "
            "the same classes at the same frequencies"
        )
    return jax.tree.map(jnp.add, a, b)


def check_sketch(name: str, sketch: Sketch, frequencies: jax.Array | None, count: int) -> None:
    """Raise a ValueError unless a sketch may be one at these frequencies, at `count` scales."""
    if frequencies is None or frequencies.ndim != 2:
        shape = None if frequencies is None else frequencies.shape
        raise ValueError(
            f"the {name} side is a sketch, which needs its frequencies [T, d], got {shape}: pass "
            "those that it was made with"
        )
    columns = frequencies.shape[0] * count
    if sketch.cosine.shape[-1] != columns:
        raise ValueError(
            f"{name} sketch has {sketch.cosine.shape[-1]} frequencies, frequencies and scales make "
            f"{columns}: pass those that it was made with"
        )
    weight = known(sketch.weight)
    if weight is not None and not np.all(weight > 0):
        raise ValueError(
            f"{name} sketch has no rows in a class, weights {weight.tolist()}: merge one that has, "
            "or leave that class out"
        )


def _rows(
    name: str,
    x: ArrayLike | Ragged,
    weights: ArrayLike | None,
    labels: ArrayLike | None,
    num_classes: int | None,
) -> tuple[tuple[jax.Array, jax.Array, jax.Array | None, int], bool]:
    """Rows [N, d], their classes and weights, how many classes, and whether it is a single one."""
    if (labels is None) != (num_classes is None):
        raise ValueError(
            f"labels and num_classes go together, got num_classes={num_classes}: pass both, or "
            "neither for one class"
        )
    if isinstance(x, Ragged):
        if weights is not None or labels is not None:
            raise ValueError("x is Ragged and has weights and classes of its own: leave both out")
        return _rows_of(x), False
    features = as_features(f"{name} features", x)
    _check_weights(name, features, weights)
    weights = None if weights is None else jnp.asarray(weights)
    if labels is not None:
        if np.shape(labels) != features.shape[:1] or features.ndim != 2:
            raise ValueError(
                f"labels have shape {np.shape(labels)}, features {features.shape}: pass one label "
                "per row of [n, d] features"
            )
        assert num_classes is not None
        return (features, jnp.asarray(labels), weights, num_classes), False
    if features.ndim == 3:
        sizes = (features.shape[1],) * features.shape[0]
        flat = features.reshape(-1, features.shape[-1])
        return _rows_of(Ragged(flat, sizes, None, None if weights is None else weights.ravel())), (
            False
        )
    return (features, jnp.zeros(features.shape[:1], jnp.int32), weights, 1), True


def _rows_of(sample: Ragged) -> tuple[jax.Array, jax.Array, jax.Array | None, int]:
    values, sizes, weights = as_features("x features", sample.values), sample.sizes, sample.weights
    if sizes is None:
        sizes = (values.shape[1],) * values.shape[0]
        values = values.reshape(-1, values.shape[-1])
        weights = None if weights is None else weights.ravel()
    members = jnp.asarray(np.repeat(np.arange(len(sizes)), sizes), jnp.int32)
    return values, members, weights, len(sizes)


def _check_weights(name: str, x: jax.Array, weights: ArrayLike | None) -> None:
    """As for features, but for a class whose weights are all zero: it may come with a merge."""
    if weights is None:
        return
    if np.shape(weights) != x.shape[:-1]:
        raise ValueError(
            f"{name} weights have shape {np.shape(weights)}, features {x.shape}: pass one weight "
            f"per row, shape {x.shape[:-1]}"
        )
    values = known(weights)
    if values is not None and not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError(
            f"{name} weights must be finite and non-negative, got values from {values.min()} to "
            f"{values.max()}: use 1 for a sample and 0 for padding"
        )
