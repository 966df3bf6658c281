"""Noise: normal pixels with the mean and the deviation of the data, cut to [0, 1].

What matching methods call a start from noise (Zhao & Bilen 2023). It needs no image, so that a set
can be distilled from a file of sketches where there is none.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from csdm_jax.distillation.context import Context
from csdm_jax.distillation.starts.base import Start


def images(context: Context, wanted: int, key: jax.Array) -> jax.Array:
    """Some for every class; see `Start`."""
    shape = context.num_classes * wanted, *context.host.images.shape[1:]
    mean, std = (jnp.array(one) for one in (context.normaliser.mean, context.normaliser.std))
    return jnp.clip(mean + std * jax.random.normal(key, shape), 0.0, 1.0)


START = Start(images, reads_images=False)
