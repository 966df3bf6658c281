"""Exact MMD^2 of many classes at once: the quadratic form of signed weights, block by block.

SDD is the V-statistic MMD^2 of its kernel, `sum_ij w_i w_j k(z_i, z_j)` over the real and the
synthetic rows z of a class with weights w of both signs, and needs no frequencies. Against few
synthetic rows that costs less than the projections, and has none of their noise.

Of a sample that is compared with again and again, a `Reference` has its own part at hand.

Rows are cut into blocks that belong to one class each. A pair of blocks is one small Gram matrix,
of which only the weighted sum is kept: memory is that of one pair, in the gradient too, and one
program serves classes of any sizes. Within a side each pair is taken once and counted twice.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from csdm_jax.metric.characteristic import normalised_weights
from csdm_jax.metric.checks import check_kernel
from csdm_jax.metric.comparison import Comparison, compare, features_of, is_static
from csdm_jax.metric.kernels import GramFunction
from csdm_jax.metric.mmd import gram_row_means
from csdm_jax.metric.numerics import compute_dtype
from csdm_jax.metric.ragged import Ragged
from csdm_jax.metric.references import Reference
from csdm_jax.metric.sketches import sketch

CPU_BLOCK, ACCELERATOR_BLOCK = 128, 1024  # rows; see benchmarks/README.md


class _Blocks(NamedTuple):
    """Blocks of rows, none with rows of two classes; static.

    Attributes:
        size: rows that a block reads.
        start: the first that it reads, shape [B].
        first, end: the rows that count, shape [B].
        classes: which class they are of, shape [B].
    """

    size: int
    start: np.ndarray
    first: np.ndarray
    end: np.ndarray
    classes: np.ndarray


class _Side(NamedTuple):
    """The rows of one side, as the blocks read them: weights add up to 1 in each class."""

    values: jax.Array
    weights: jax.Array
    blocks: _Blocks


def reference(
    x: ArrayLike | Ragged,
    kernel: GramFunction,
    frequencies: ArrayLike | None = None,
    *,
    sizes: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
    matmul_dtype: DTypeLike | None = None,
    sample_chunk: int | None = None,
) -> Reference:
    """A sample's own part of the exact SDD, computed once; `sdd_loss` and `sdd_parts` take it.

    The exact estimator of a loss against n real and m synthetic rows of a class then costs n m and
    m^2 entries of Gram matrices, not n^2.

    Args:
        x: features, shape [n, d] of one class, [C, n, d], [N, d] with `sizes`, or `Ragged`.
        kernel: of the losses, the same as theirs; it cannot be told from the numbers whether it is.
        frequencies: shape [T, d], those of the losses, for the amplitude; not needed where alpha
            is 1/2.
        sizes: rows of each class in [N, d] features.
        dtype: in which rows are kept, such as "bfloat16"; as they are if left out. All but the
            sketch is of the kept rows.
        matmul_dtype: as for `sdd_loss`.
        sample_chunk: rows of a block, as for `sdd_loss`.

    Returns:
        A `Reference`. Gradients do not go through it.

    Raises:
        ValueError: as `sdd_loss`.

    >>> from csdm_jax.metric import RBF, sdd_loss
    >>> x, y = jnp.zeros((3, 2)), jnp.ones((2, 2))
    >>> options = {"estimator": "exact", "kernel": RBF(1.0)}
    >>> loss = sdd_loss(reference(x, RBF(1.0)), y, None, **options)
    >>> bool(jnp.isclose(loss, sdd_loss(x, y, None, **options)))
    True
    """
    check_kernel(kernel)
    options: Any = {"sample_chunk": sample_chunk, "matmul_dtype": matmul_dtype}
    options |= {} if isinstance(x, Ragged) else {"real_sizes": sizes, "synthetic_sizes": sizes}
    comparison = compare(x, x, frequencies, spectra=False, **options)._replace(kernel=kernel)
    rows = jax.tree.map(jax.lax.stop_gradient, features_of(comparison)[0])
    known = None
    if comparison.frequencies is not None:
        known = sketch(rows, comparison.frequencies, matmul_dtype=matmul_dtype)
    if dtype is not None:
        rows = rows.with_values(rows.values.astype(dtype))
    kept = comparison._replace(real=rows, synthetic=rows)
    (side, _), centres = _sides_of(kept)
    return Reference(rows, _sums_of_pairs(kernel, side, side, centres, matmul_dtype), known)


def exact_squares(comparison: Comparison) -> jax.Array:
    """MMD^2 of the comparison's kernel, shape [C]: the V-statistic, diagonals included."""
    kernel = comparison.kernel
    assert kernel is not None
    if not all(is_static(side.values) for side in features_of(comparison)):
        return _of_symbolic_classes(comparison, kernel)
    (real, synthetic), centres = _sides_of(comparison)

    def sums(x: _Side, y: _Side) -> jax.Array:
        return _sums_of_pairs(kernel, x, y, centres, comparison.matmul_dtype)

    own = sums(real, real) if comparison.own is None else comparison.own
    return own + sums(synthetic, synthetic) - 2.0 * sums(real, synthetic)


def _sides_of(comparison: Comparison) -> tuple[tuple[_Side, _Side], jax.Array | None]:
    """Both sides in blocks, and where their classes are moved to."""
    sides = features_of(comparison)
    dtype = compute_dtype(*(side.values for side in sides))
    size = comparison.sample_chunk or (
        CPU_BLOCK if jax.default_backend() == "cpu" else ACCELERATOR_BLOCK
    )
    real, synthetic = (
        _Side(side.values, normalised_weights(side, dtype), _blocks(side, size)) for side in sides
    )
    shiftable = getattr(comparison.kernel, "shift_invariant", False)
    return (real, synthetic), _centres(real, sides[0].num_classes) if shiftable else None


def _blocks(side: Ragged, most: int) -> _Blocks:
    """Blocks of at most `most` rows."""
    sizes = side.sizes
    assert sizes is not None
    size, rows = min(most, max(sizes)), sum(sizes)
    ends = np.cumsum(sizes)
    spans = [
        (first, min(first + size, end), number)
        for number, (end, count) in enumerate(zip(ends.tolist(), sizes, strict=True))
        for first in range(end - count, end, size)
    ]
    first, end, classes = np.array(spans, np.int32).T
    return _Blocks(size, np.minimum(first, rows - size), first, end, classes)


def _pairs(x: _Blocks, y: _Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of blocks of the same class, shape [P, 2], and how often each counts, shape [P]."""
    of_y = [np.flatnonzero(y.classes == number) for number in range(y.classes[-1] + 1)]
    found = np.array(
        list(
            itertools.chain.from_iterable(
                ((i, j) for j in of_y[number]) for i, number in enumerate(x.classes)
            )
        )
    )
    if x is not y:
        return found, np.ones(len(found))
    found = found[found[:, 0] <= found[:, 1]]  # the Gram matrix is symmetric
    return found, np.where(found[:, 0] == found[:, 1], 1.0, 2.0)


def _sums_of_pairs(
    kernel: GramFunction,
    x: _Side,
    y: _Side,
    centres: jax.Array | None,
    matmul_dtype: DTypeLike | None,
) -> jax.Array:
    """`sum_ij u_i v_j k(x_i, y_j)` of each class, shape [C]."""
    pairs, counts = _pairs(x.blocks, y.blocks)
    classes = x.blocks.classes[pairs[:, 0]]
    gram = getattr(kernel, "gram", None)

    def of(pair: tuple[jax.Array, ...]) -> jax.Array:
        i, j, number = pair
        centre = None if centres is None else centres[number]
        (a, u), (b, v) = _read(x, i, centre), _read(y, j, centre)
        matrix = kernel(a, b) if gram is None else gram(a, b, matmul_dtype=matmul_dtype)
        return u @ jnp.matmul(matrix, v, precision="highest")

    # The gradient computes each Gram matrix again.
    numbers = tuple(jnp.asarray(n, jnp.int32) for n in (pairs[:, 0], pairs[:, 1], classes))
    values = jax.lax.map(jax.checkpoint(of, prevent_cse=False), numbers)
    values = values * jnp.asarray(counts, values.dtype)
    count = int(x.blocks.classes[-1]) + 1
    return jax.ops.segment_sum(values, classes, count, indices_are_sorted=True)


def _read(side: _Side, number: jax.Array, centre: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Rows and weights of one block; rows that do not count are 0, and so are their weights."""
    blocks = side.blocks
    start, first, end = (jnp.asarray(n)[number] for n in (blocks.start, blocks.first, blocks.end))
    rows = jax.lax.dynamic_slice_in_dim(side.values, start, blocks.size)
    weights = jax.lax.dynamic_slice_in_dim(side.weights, start, blocks.size)
    position = start + jnp.arange(blocks.size, dtype=start.dtype)
    weights = jnp.where((position >= first) & (position < end), weights, 0.0)
    rows = rows.astype(weights.dtype)
    rows = rows if centre is None else rows - centre[None, :]
    return jnp.where(weights[:, None] > 0, rows, 0.0), weights  # 0 * NaN would be NaN


def _centres(side: _Side, classes: int) -> jax.Array:
    """The mean of each class's rows, shape [C, d].

    Moved there, rows are near 0, where matrix products keep the digits of distances.
    """

    def of(number: jax.Array) -> jax.Array:
        rows, weights = _read(side, number, None)
        return weights @ rows

    members = side.blocks.classes
    sums = jax.lax.map(of, jnp.arange(len(members), dtype=jnp.int32))
    return jax.lax.stop_gradient(jax.ops.segment_sum(sums, members, classes))


def _of_symbolic_classes(comparison: Comparison, kernel: GramFunction) -> jax.Array:
    """The same for features [C, n, d] whose sizes may be symbols: class by class."""

    def of(*arrays: jax.Array) -> jax.Array:
        x, u, y, v = arrays
        dtype = compute_dtype(x, y)
        sides = []
        for rows, given in ((x, u), (y, v)):
            weights = normalised_weights(Ragged(rows, rows.shape[:1], weights=given), dtype)
            sides.append((jnp.where(weights[:, None] > 0, rows.astype(dtype), 0.0), weights))

        def total(a: int, b: int) -> jax.Array:
            (left, u), (right, v) = sides[a], sides[b]
            chunk = comparison.sample_chunk
            return u @ gram_row_means(kernel, left, right, v, sample_chunk=chunk)

        return total(0, 0) + total(1, 1) - 2.0 * total(0, 1)

    arrays: list[Any] = []
    for side in features_of(comparison):
        by_class = side.values.reshape(side.num_classes, -1, side.values.shape[-1])
        weights = side.weights
        weights = None if weights is None else weights.reshape(by_class.shape[:2])
        arrays += [by_class, weights]
    return jax.vmap(of, in_axes=tuple(None if array is None else 0 for array in arrays))(*arrays)
