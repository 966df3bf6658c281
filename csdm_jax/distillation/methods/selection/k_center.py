"""K-Center Greedy: each next image is the one farthest from all that are chosen.

    i_k = argmax_i min_{j chosen} ||f_i - f_j||,   i_1 drawn at random

It takes outliers, so the features decide much.

Source: Sener & Savarese 2018, Active Learning for Convolutional Neural Networks: A Core-Set
Approach; class by class as in Guo et al. 2022, DeepCore.
Cost: a forward pass of the training set through every extractor, O(n_c d) for each image chosen.
Deviations: features are the mean over the trained extractors, not those of a network trained on
ImageNet. With recipe=published the extractor is one ResNet-18, trained for 40 epochs by a staircase
near its cosine, and the networks of the configuration are tested, by its recipe.
Licence: MIT (DeepCore).
Status: tested; published form not reproducible: DeepCore reads features of a network trained on
ImageNet.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from csdm_jax.distillation.features import mean_features
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.selection.published import DEEPCORE
from csdm_jax.distillation.methods.selection.selection import Selection, kind
from csdm_jax.distillation.needs import Pool
from csdm_jax.distillation.starts.base import of_every_class, real_images
from csdm_jax.training import extractors


def k_center(features: np.ndarray, count: int, first: int) -> np.ndarray:
    """Farthest-first traversal.

    Args:
      features: float64 `[n, d]`, of one class.
      count: images to choose, 1 to n.
      first: position of the one to begin with.

    Returns:
      int `[count]`, different positions in the order of choice; of equals the first.
    """
    chosen, nearest = [first], np.full(len(features), np.inf)
    while len(chosen) < count:
        gaps = np.sum((features - features[chosen[-1]]) ** 2, axis=1)
        nearest = np.minimum(nearest, gaps)
        nearest[chosen] = -1.0  # below the distance of an image that equals a chosen one
        chosen.append(int(np.argmax(nearest)))
    return np.array(chosen)


def images(context: Context, wanted: int, key: jax.Array, pool: extractors.Pool) -> jax.Array:
    """Those images of every class; see `Selection`."""
    features = mean_features(context, pool)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    first = generator.integers(context.counts)
    rows = of_every_class(
        context.counts,
        wanted,
        lambda label, own, count: k_center(features[own], count, int(first[label])),
    )
    return real_images(context, rows)


def create(config: Any, context: Context) -> Selection:
    """Farthest-first cover of each class."""
    return Selection(config, context, images)


KIND = kind(create, Pool(), published=DEEPCORE)
