"""What trained networks say of images: logits and features, made in tiles on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation.context import Context
from csdm_jax.networks import Network
from csdm_jax.parameterisations import Stored
from csdm_jax.training.extractors import Pool

CHUNK = 1024
"""Images on the device at a time."""


@functools.partial(jax.jit, static_argnames=("network", "normaliser"))
def _outputs(
    params: Any, images: jax.Array, *, network: Network, normaliser: Normaliser
) -> tuple[jax.Array, jax.Array]:
    return network.apply_in_tiles(
        params, images, limit=len(images), gradient=False, prepare=normaliser
    )


def each(stacked: Any) -> Iterator[Any]:
    """The networks of weights with a leading axis, one by one, on the host."""
    weights = jax.device_get(stacked)  # a slice on the device is a program a shape
    for k in range(len(jax.tree.leaves(weights)[0])):
        yield jax.tree.map(lambda leaf, k=k: leaf[k], weights)


def chunks(count: int, most: int = CHUNK) -> Iterator[np.ndarray]:
    """Positions 0 to `count` in pieces, int `[m]`, the last one filled up by repetition.

    Their sizes are powers of two, so that classes of many sizes need few programs.
    """
    size = min(most, 1 << (count - 1).bit_length())
    for first in range(0, count, size):
        yield np.resize(np.arange(first, min(first + size, count)), size)


def outputs(
    context: Context, params: Any, images: Callable[[np.ndarray], Any], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logits and features of images under one network.

    Args:
      context: network and normalisation.
      params: weights of the network.
      images: positions, int `[m]`, to images `[m, H, W, ch]`, uint8 or floats in [0, 1].
      count: how many there are, n, at least 1.

    Returns:
      float32 `[n, K]` and `[n, d]`.
    """
    run = functools.partial(_outputs, network=context.network, normaliser=context.normaliser)
    parts = [run(params, images(some)) for some in chunks(count)]
    logits, features = (np.concatenate(one)[:count] for one in zip(*parts, strict=True))
    return logits, features


def mean_features(context: Context, pool: Pool) -> np.ndarray:
    """The mean over the trained extractors of the features of every training image.

    Returns:
      float64 `[N, d]`, class-major.
    """
    total = np.zeros((len(context.host), context.network.feature_dim))
    for params in each(pool.trained):
        total += outputs(context, params, context.host.take, len(total))[1]
    return total / pool.size


def mean_logits(
    context: Context, pool: Pool, images: Callable[[np.ndarray], Any], count: int
) -> np.ndarray:
    """The mean over the trained extractors of the logits of images, float32 `[n, K]`.

    Arguments as those of `outputs`.
    """
    every = [outputs(context, params, images, count)[0] for params in each(pool.trained)]
    return np.mean(every, axis=0)


def stored_logits(context: Context, pool: Pool, stored: Stored) -> np.ndarray:
    """Soft labels of stored images, float32 `[n, K]`.

    Args:
      context: network, normalisation and parameterisation.
      pool: its trained networks label.
      stored: synthetic images.

    Returns:
      `mean_logits` at what each stored image decodes to, their mean over its tiles.
    """
    form = context.parameterisation
    decoded = np.asarray(form.decode(stored))
    logits = mean_logits(context, pool, decoded.__getitem__, len(decoded))
    return logits.reshape(-1, form.tiles, logits.shape[-1]).mean(axis=1)
