"""Means and variances of what a network's convolutions read and give, and how groups pool them.

A statistic is first one of each image, over its pixels, then pooled over the images of a group:
that is exact, and stays so for a class of one image, whose variance is the one over its pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation.context import Context
from csdm_jax.distillation.features import chunks
from csdm_jax.metric.numerics import safe_sqrt
from csdm_jax.networks import Network, Params

PATCH = 4
"""Side of a patch."""
CHUNK = 256
"""Real images at a time."""


class Spread(NamedTuple):
    """Mean and variance, float `[..., c]` each: of images `[n, c]`, of a group `[c]`."""

    mean: jax.Array
    variance: jax.Array


Convolutions = Sequence[tuple[jax.Array, jax.Array]]
"""Input and output of each convolution, as `Network.apply_with_convolutions` gives them."""
Describe = Callable[[Convolutions], list[Spread]]
"""Which statistics of each image count, in the order of the layers."""


def _spread(x: jax.Array, axes: tuple[int, ...]) -> Spread:
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return Spread(jnp.mean(x, axes), jnp.var(x, axes))


def of_channels(maps: jax.Array) -> Spread:
    """Of each channel, over the pixels: `[n, h, w, c]` to `[n, c]`."""
    return _spread(maps, (1, 2))


def of_patches(maps: jax.Array) -> Spread:
    """Of each patch, over its pixels and all channels: `[n, h, w, c]` to `[n, patches]`.

    Patches are `PATCH` pixels wide and high, or as much as the map; what does not fill one is left
    out.
    """
    n, height, width, channels = maps.shape
    high, wide = min(PATCH, height), min(PATCH, width)
    rows, columns = height // high, width // wide
    cut = maps[:, : rows * high, : columns * wide]
    blocks = cut.reshape(n, rows, high, columns, wide, channels)
    own = _spread(blocks, (2, 4, 5))
    return Spread(own.mean.reshape(n, -1), own.variance.reshape(n, -1))


def pooled(own: Spread, weights: Any = None) -> Spread:
    """Of the union of groups, from each group's `[g, ..., c]`: along the first axis.

    Args:
      own: of the groups, such as images.
      weights: `[g]`, how many things each has; None where all have as many.
    """
    xp = np if isinstance(own.mean, np.ndarray) else jnp
    share = xp.ones(len(own.mean)) if weights is None else xp.asarray(weights)
    share = share / share.sum()
    mean = xp.tensordot(share, own.mean, 1)
    return Spread(mean, xp.tensordot(share, own.variance + (own.mean - mean) ** 2, 1))


def distance(own: Spread, real: Spread) -> jax.Array:
    """Euclidean distances of means and of variances `[..., c]`, added: `[...]`."""
    gaps = (jnp.sum((a - b) ** 2, axis=-1) for a, b in zip(own, real, strict=True))
    return sum(map(safe_sqrt, gaps), jnp.float32(0))


@functools.partial(jax.jit, static_argnames=("network", "normaliser", "describe"))
def _of_images(
    params: Params,
    images: jax.Array,
    *,
    network: Network,
    normaliser: Normaliser,
    describe: Describe,
) -> list[Spread]:
    return describe(network.apply_with_convolutions(params, normaliser(images))[2])


def of_classes(context: Context, params: Params, describe: Describe) -> list[Spread]:
    """The statistics of the real images of every class, under one network.

    One pass over the training set; each image of a class counts alike.

    Args:
      context: data, network and normalisation.
      params: of the network.
      describe: which statistics.

    Returns:
      For each statistic float64 `[C, c]`.
    """
    run = functools.partial(
        _of_images, network=context.network, normaliser=context.normaliser, describe=describe
    )
    count, labels = len(context.host), context.host.labels
    parts = [run(params, context.host.take(some)) for some in chunks(count, CHUNK)]
    whole: list[Spread] = jax.tree.map(
        lambda *part: np.concatenate(part)[:count].astype(np.float64), *parts
    )
    rows = [np.flatnonzero(labels == c) for c in range(len(context.counts))]
    found = [[pooled(jax.tree.map(lambda x, r=r: x[r], own)) for r in rows] for own in whole]
    return [jax.tree.map(lambda *one: np.stack(one), *each) for each in found]
