"""The training set on the accelerator, and pure draws from it."""

from __future__ import annotations

import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.host import HostData
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.sharding import ONE_DEVICE, Devices


@functools.partial(jax.tree_util.register_dataclass, data_fields=["images"], meta_fields=["counts"])
@dataclasses.dataclass(frozen=True)
class DeviceData:
    """A class-major training set, stored as uint8 to save device memory.

    Args:
      images: `[N, H, W, ch]` uint8, all of class 0 first, then class 1, ...; rows beyond the sum of
        the counts are padding.
      counts: images per class; static, so that batch shapes are known when compiling.
    """

    images: jax.Array
    counts: tuple[int, ...]

    @property
    def labels(self) -> np.ndarray:
        """`[N]` int32, ascending."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)


def to_device(host: HostData, devices: Devices = ONE_DEVICE) -> DeviceData:
    """Puts the training images on the devices: split by rows where there are several."""
    return DeviceData(devices.place_rows(host.take, len(host)), host.counts)


SHARE = 0.5
"""Share of a device's memory that images may take; the rest is for the step."""


def fits(host: HostData, devices: Devices = ONE_DEVICE) -> bool:
    """Whether the training images leave room enough on the devices (or, on a CPU, in memory)."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return host.nbytes / devices.count <= SHARE * statistics.get("bytes_limit", here)


def draw_class_batches(
    counts: tuple[int, ...], key: jax.Array, per_class: int, classes_per_step: int = 0
) -> Ragged:
    """Distinct images of every class, or of some classes, drawn uniformly without replacement.

    The values are int32 `[M]`: rows of the class-major set.

    A class gives `min(n_c, per_class)` images; a small class is taken whole. With all classes the
    batch has no padding. A subset of classes differs from step to step, so there every class has
    the rows of the largest, and small classes are padded.

    Args:
      counts: images per class (static).
      key: PRNG key; the draw is a pure function of it.
      per_class: largest number of images per class, at least 1 (static).
      classes_per_step: classes in the batch, drawn too; 0 for all (static).

    Raises:
      ValueError: for `per_class` below 1, or more classes than there are.
    """
    if per_class < 1:
        raise ValueError(
            f"per_class must be at least 1, got {per_class}: ask for one image or more"
        )
    check_classes_per_step(classes_per_step, len(counts))
    if classes_per_step in (0, len(counts)):
        return _from_all_classes(np.asarray(counts), key, per_class)
    return _from_some_classes(np.asarray(counts), key, per_class, classes_per_step)


def check_classes_per_step(classes_per_step: int, num_classes: int) -> None:
    """Raises a ValueError when there are fewer classes."""
    if not 0 <= classes_per_step <= num_classes:
        raise ValueError(
            f"classes_per_step must lie in 0..{num_classes}, got {classes_per_step}: there are "
            f"{num_classes} classes; 0 takes all of them"
        )


def _from_all_classes(counts: np.ndarray, key: jax.Array, per_class: int) -> Ragged:
    sizes = np.minimum(counts, per_class)
    scores = jax.random.uniform(key, (len(counts), counts.max()))
    order = _largest(scores, counts[:, None], int(sizes.max()))
    members, columns = np.nonzero(np.arange(sizes.max()) < sizes[:, None])
    starts = np.cumsum(counts) - counts
    rows = order[members, columns] + jnp.asarray(starts[members], order.dtype)
    classes = jnp.arange(len(counts), dtype=jnp.int32)
    return Ragged(rows, tuple(sizes.tolist()), classes)


def _from_some_classes(
    counts: np.ndarray, key: jax.Array, per_class: int, classes_per_step: int
) -> Ragged:
    class_key, row_key = jax.random.split(key)
    drawn = jax.random.choice(class_key, len(counts), (classes_per_step,), replace=False)
    return draw_of_classes(counts, row_key, jnp.sort(drawn).astype(jnp.int32), per_class)


def draw_of_classes(
    counts: tuple[int, ...] | np.ndarray, key: jax.Array, classes: jax.Array, per_class: int
) -> Ragged:
    """Distinct images of the given classes, like those of `draw_class_batches`.

    Args:
      counts: images per class (static).
      key: PRNG key; the draw is a pure function of it and of the classes.
      classes: int32 `[k]`; which they are need not be known when compiling, so each has the rows
        of the largest class of all, and small ones are padded.
      per_class: largest number of images per class, at least 1 (static).
    """
    counts = np.asarray(counts)
    own = jnp.asarray(counts)[classes][:, None]
    size = int(min(counts.max(), per_class))
    order = _largest(jax.random.uniform(key, (len(classes), counts.max())), own, size)
    starts = jnp.asarray(np.cumsum(counts) - counts)[classes][:, None]
    present = jnp.arange(size) < own
    rows = starts + jnp.where(present, order, 0)
    sizes = (size,) * len(classes)
    return Ragged(
        rows.ravel().astype(jnp.int32), sizes, classes, present.ravel().astype(jnp.float32)
    )


def draw_any(size: int, key: jax.Array, count: int) -> Ragged:
    """Images of the whole set, drawn uniformly with replacement; their one "class" is none.

    Args:
      size: images in the set (static).
      key: PRNG key; the draw is a pure function of it.
      count: images to draw (static).

    Returns:
      Rows, int32 `[count]`.
    """
    rows = jax.random.randint(key, (count,), 0, size)
    return Ragged(rows, (count,), jnp.zeros(1, jnp.int32))


def _largest(scores: jax.Array, counts: jax.Array | np.ndarray, size: int) -> jax.Array:
    """Positions of the largest scores within each class, `[k, size]`, absent ones last."""
    # The largest of iid scores are a uniform draw; -1 puts what lies beyond a class last.
    in_class = np.arange(scores.shape[1]) < counts
    return jax.lax.top_k(jnp.where(in_class, scores, -1.0), size)[1]


def epoch_batches(key: jax.Array, size: int, batch: int) -> jax.Array:
    """One epoch in random order, its last partial batch padded: made once an epoch, it sorts.

    Args:
      key: PRNG key; the order is a pure function of it.
      size: number of examples, at least 1 (static).
      batch: examples per batch, at least 1 (static).

    Returns:
      indices `[B, batch]` int32 with `B = ceil(size / batch)`: every example once, then the order's
      beginning as padding, which `present` marks.

    Raises:
      ValueError: for a size or batch below 1.
    """
    if size < 1 or batch < 1:
        raise ValueError(
            f"an epoch needs size >= 1 and batch >= 1, got size {size}, batch {batch}: "
            "give it examples and a positive batch"
        )
    # Padding repeats the epoch's own order: what mixes rows, as CutMix does, favours no example.
    order = jnp.resize(jax.random.permutation(key, size), (size + -size % batch,))
    return order.reshape(-1, batch).astype(jnp.int32)


def present(row: jax.Array, size: int, batch: int) -> jax.Array:
    """Which entries of a batch of an epoch are no padding.

    Args:
      row: int scalar, the batch's number within the epoch.
      size: number of examples (static).
      batch: examples per batch (static).

    Returns:
      `[batch]` float32: 1 for an example, 0 for padding.
    """
    return (jnp.arange(batch) < size - row * batch).astype(jnp.float32)
