"""Random: real images of each class, drawn without replacement."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from csdm_jax.distillation.context import Context
from csdm_jax.distillation.starts.base import Start, real_images


def initial_rows(
    counts: tuple[int, ...], needed: int | Sequence[int], key: jax.Array
) -> np.ndarray:
    """Rows of the real images that start the synthetic ones.

    Drawn without replacement; a class with fewer than `needed` images is used whole, again and
    again, so that each of its images serves equally often (up to one).

    Args:
      counts: images per class of the class-major set.
      needed: images wanted of every class, or of each.
      key: decides the draw.

    Returns:
      int, as many as needed in all, class-major.
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    offset, rows = 0, []
    for count, wanted in zip(counts, np.broadcast_to(needed, len(counts)), strict=True):
        passes = [generator.permutation(count) for _ in range(max(1, -(-wanted // count)))]
        rows.append(offset + np.concatenate(passes)[:wanted])
        offset += count
    return np.concatenate(rows)


def images(context: Context, wanted: int, key: jax.Array) -> jax.Array:
    """Some of every class; see `Start`."""
    return real_images(context, initial_rows(context.counts, wanted, key))


START = Start(images)
