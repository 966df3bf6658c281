"""Forgetting: the images that networks most often forget while they are trained.

An image is forgotten where it is right at one snapshot of a training and wrong at the next. The
counts of all trainings are added; the images of a class with the highest ones are taken, of equal
ones the first in the order of the data.

Source: Toneva et al. 2019, An Empirical Study of Example Forgetting; Guo et al. 2022, DeepCore.
Cost: the trainings of the extractors once more, with snapshots; a forward pass of the training set
through each of them.
Deviations: counted at the end of every epoch on images as they are, not in the mini-batches of the
training; over all trainings; before the first epoch nothing counts as learnt. An image that is
never learnt counts 0, as in DeepCore; in the paper it counts most. The same for every seed. With
recipe=published the extractor is DeepCore's ResNet-18, trained for 40 epochs by a staircase near
its cosine, and the networks of the configuration are tested, by its recipe.
Licence: MIT (DeepCore).
Status: tested; published settings of DeepCore, but for the cosine.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from csdm_jax.distillation.features import each, outputs
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.selection.published import DEEPCORE
from csdm_jax.distillation.methods.selection.selection import Selection, kind
from csdm_jax.distillation.needs import Trajectories
from csdm_jax.distillation.starts.base import of_every_class, real_images
from csdm_jax.training import trajectories


def forgotten(right: np.ndarray) -> np.ndarray:
    """How often each image is forgotten.

    Args:
      right: bool `[..., S, N]`, whether each of N images is right at each of S snapshots.

    Returns:
      int `[..., N]`.
    """
    return np.sum(right[..., :-1, :] & ~right[..., 1:, :], axis=-2)


def most(counts: np.ndarray, count: int) -> np.ndarray:
    """Positions of the highest counts `[n]`, from the highest on; of equals the first."""
    return np.argsort(-counts, kind="stable")[:count]


def right(context: Context, paths: trajectories.Trajectories) -> np.ndarray:
    """Whether each training image is right at each snapshot after training has begun.

    Returns:
      bool `[networks, snapshots - 1, N]`.
    """
    labels = context.host.labels
    return np.array(
        [
            [
                outputs(context, params, context.host.take, len(labels))[0].argmax(1) == labels
                for params in list(each(network))[1:]
            ]
            for network in each(paths.snapshots)
        ]
    )


def images(
    context: Context, wanted: int, key: jax.Array, paths: trajectories.Trajectories
) -> jax.Array:
    """Those images of every class; see `Selection`."""
    del key
    counts = forgotten(right(context, paths)).sum(axis=0)
    rows = of_every_class(
        context.counts, wanted, lambda label, own, count: most(counts[own], count)
    )
    return real_images(context, rows)


def create(config: Any, context: Context) -> Selection:
    """The images of each class that trainings forget most often."""
    return Selection(config, context, images)


KIND = kind(create, Trajectories(every=1), published=DEEPCORE)
