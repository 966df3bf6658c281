"""Herding: real images whose mean runs closest to the mean of their class (Welling 2009).

The features are the mean over the trained extractors. Nothing is random in it.
"""

from __future__ import annotations

import jax
import numpy as np

from csdm_jax.distillation.context import Context
from csdm_jax.distillation.features import mean_features
from csdm_jax.distillation.starts.base import Start, of_every_class, real_images
from csdm_jax.training.extractors import Pool


def herding(features: np.ndarray, count: int) -> np.ndarray:
    """Greedy matching of the mean: `i_k = argmin_i ||mean - (f_i + sum of the chosen) / k||`.

    Args:
      features: float64 `[n, d]`, of one class.
      count: images to choose, 1 to n.

    Returns:
      int `[count]`, different positions in the order of choice; of equals the first.
    """
    centred = features - features.mean(axis=0)
    squares = np.sum(centred**2, axis=1)
    total = np.zeros(features.shape[1])
    chosen: list[int] = []
    for _ in range(count):
        # k^2 times the squared distance, but for ||total||^2, which all have in common.
        gaps = squares + 2 * centred @ total
        gaps[chosen] = np.inf
        chosen.append(int(np.argmin(gaps)))
        total += centred[chosen[-1]]
    return np.array(chosen)


def images(context: Context, wanted: int, key: jax.Array, pool: Pool) -> jax.Array:
    """Those images of every class; see `Start`."""
    del key
    features = mean_features(context, pool)
    rows = of_every_class(
        context.counts, wanted, lambda label, own, count: herding(features[own], count)
    )
    return real_images(context, rows)


START = Start(images, reads_pool=True)
