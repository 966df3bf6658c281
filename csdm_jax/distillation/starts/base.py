"""What a start is, and how chosen rows become images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.distillation.context import Context


@dataclasses.dataclass(frozen=True)
class Start:
    """What chooses the first images.

    Attributes:
      images: context, number of images of every class, key and, where `reads_pool`, the pool of
        extractors, to float32 images `[C * wanted, H, W, ch]` in [0, 1], class-major.
      reads_pool: whether it needs the extractors.
      reads_images: whether it needs images; it may be asked for without any where it does not.
    """

    images: Callable[..., jax.Array]
    reads_pool: bool = False
    reads_images: bool = True


def real_images(context: Context, rows: np.ndarray) -> jax.Array:
    """Rows of the training set as float32 `[k, H, W, ch]` in [0, 1]."""
    return jnp.asarray(context.host.take(rows), jnp.float32) / 255.0


def of_every_class(
    counts: tuple[int, ...], wanted: int, choose: Callable[[int, slice, int], np.ndarray]
) -> np.ndarray:
    """Rows that are chosen class by class.

    A class with fewer than `wanted` images is used whole, again and again in the order of choice,
    so that each of its images serves equally often (up to one).

    Args:
      counts: images per class of the class-major set.
      wanted: images of every class, at least 1.
      choose: class, its rows, and a number k of 1 to its count, to the positions within the class
        of k different images, int `[k]`, in the order of choice.

    Returns:
      int `[C * wanted]`, class-major.
    """
    offset, rows = 0, []
    for label, count in enumerate(counts):
        chosen = choose(label, slice(offset, offset + count), min(wanted, count))
        rows.append(offset + np.resize(chosen, wanted))
        offset += count
    return np.concatenate(rows)
