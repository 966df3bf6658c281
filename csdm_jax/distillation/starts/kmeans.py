"""k-means: of each cluster of a class the real image that is nearest to its centre.

What DREAM (Liu et al. 2023) draws its batches and first images by, here for the first images. The
features are the mean over the trained extractors; there are as many clusters as images are wanted.
"""

from __future__ import annotations

import jax
import numpy as np

from csdm_jax.distillation.context import Context
from csdm_jax.distillation.features import mean_features
from csdm_jax.distillation.starts.base import Start, of_every_class, real_images
from csdm_jax.runtime import extras
from csdm_jax.training.extractors import Pool


def representatives(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The image nearest to the centre of each cluster, among those of the cluster.

    Args:
      features: float64 `[n, d]`, of one class.
      count: clusters, 1 to n.
      seed: of the first centres (k-means++), 0 to 2^32 - 1.

    Returns:
      int `[count]`, different positions. Where fewer than `count` images differ in their features,
      the last ones are the first of those that represent no cluster.

    Raises:
      MissingError: without scikit-learn.
    """
    with extras.needed("distil"):
        from sklearn.cluster import KMeans

    clusters = min(count, len(np.unique(features, axis=0)))
    fitted = KMeans(clusters, n_init=1, random_state=seed).fit(features)
    gaps = np.sum((features - fitted.cluster_centers_[fitted.labels_]) ** 2, axis=1)
    clustered = (np.flatnonzero(fitted.labels_ == k) for k in np.unique(fitted.labels_))
    nearest = [int(members[np.argmin(gaps[members])]) for members in clustered]
    others = np.setdiff1d(np.arange(len(features)), nearest)
    return np.concatenate([nearest, others])[:count].astype(int)


def images(context: Context, wanted: int, key: jax.Array, pool: Pool) -> jax.Array:
    """Those images of every class; see `Start`."""
    features = mean_features(context, pool)
    seeds = np.asarray(jax.random.bits(key, (context.num_classes,))).tolist()
    rows = of_every_class(
        context.counts,
        wanted,
        lambda label, own, count: representatives(features[own], count, seeds[label]),
    )
    return real_images(context, rows)


START = Start(images, reads_pool=True)
