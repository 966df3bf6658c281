"""The training set on the accelerator, and pure draws from it."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.dataset import Dataset
from csdm_jax.data.longtail import LongTail


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["images", "labels"], meta_fields=["counts"]
)
@dataclasses.dataclass(frozen=True)
class DeviceData:
    """A class-major training set, stored as uint8 to save device memory.

    Args:
      images: `[N, H, W, ch]` uint8, all of class 0 first, then class 1, ...
      labels: `[N]` int32, ascending.
      counts: images per class; static, so that batch shapes are known when compiling.
    """

    images: jax.Array
    labels: jax.Array
    counts: tuple[int, ...]


def to_device(dataset: Dataset, longtail: LongTail) -> DeviceData:
    """Puts the long-tailed training images on the default device.

    Raises:
      ValueError: when the subset was built for other labels.
    """
    indices = longtail.indices
    expected = np.repeat(np.arange(len(longtail.counts)), longtail.counts)
    fits = len(indices) == len(expected) and indices.max() < len(dataset.train_labels)
    if not fits or not np.array_equal(dataset.train_labels[indices], expected):
        raise ValueError(
            f"the long-tailed indices (counts {longtail.counts}) do not match the labels of "
            f"{dataset.name}: build them with build_longtail(dataset.train_labels, ...)"
        )
    return DeviceData(
        jnp.asarray(dataset.train_images[indices]),
        jnp.asarray(expected, jnp.int32),
        longtail.counts,
    )


def draw_class_batches(
    data: DeviceData, key: jax.Array, per_class: int
) -> tuple[jax.Array, jax.Array]:
    """Distinct images of every class, drawn uniformly without replacement.

    Class `c` gives `m_c = min(n_c, per_class)` images; a small class is taken whole.

    Args:
      data: the training set.
      key: PRNG key; the draw is a pure function of it.
      per_class: largest number of images per class, at least 1 (static).

    Returns:
      images `[M, H, W, ch]` uint8 and labels `[M]` int32, `M = sum_c m_c`, class by class.

    Raises:
      ValueError: for `per_class` below 1.
    """
    if per_class < 1:
        raise ValueError(
            f"per_class must be at least 1, got {per_class}: ask for one image or more"
        )
    counts = np.asarray(data.counts)
    sizes = np.minimum(counts, per_class)
    scores = jax.random.uniform(key, (len(counts), counts.max()))
    in_class = np.arange(counts.max()) < counts[:, None]
    # The largest of iid scores are a uniform draw; -1 puts what lies beyond a class last.
    _, order = jax.lax.top_k(jnp.where(in_class, scores, -1.0), int(sizes.max()))
    rows, columns = np.nonzero(np.arange(sizes.max()) < sizes[:, None])
    starts = np.cumsum(counts) - counts
    drawn = order[rows, columns] + jnp.asarray(starts[rows], order.dtype)
    return data.images[drawn], jnp.asarray(rows, jnp.int32)


def epoch_batches(key: jax.Array, size: int, batch: int) -> tuple[jax.Array, jax.Array]:
    """One epoch in random order, its last partial batch padded and marked.

    Args:
      key: PRNG key; the order is a pure function of it.
      size: number of examples, at least 1 (static).
      batch: examples per batch, at least 1 (static).

    Returns:
      indices `[B, batch]` int32 and weights `[B, batch]` float32 with `B = ceil(size / batch)`:
      every example has weight 1 exactly once; padding has weight 0 and repeats the order.

    Raises:
      ValueError: for a size or batch below 1.
    """
    if size < 1 or batch < 1:
        raise ValueError(
            f"an epoch needs size >= 1 and batch >= 1, got size {size}, batch {batch}: "
            "give it examples and a positive batch"
        )
    padding = -size % batch
    # Padding repeats the epoch's own order: what mixes rows, as CutMix does, favours no example.
    order = jnp.resize(jax.random.permutation(key, size), (size + padding,))
    weights = np.pad(np.ones(size, np.float32), (0, padding))
    return order.reshape(-1, batch).astype(jnp.int32), jnp.asarray(weights).reshape(-1, batch)
