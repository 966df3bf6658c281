"""From stored pixels to what a network reads."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Normaliser:
    """Per-channel standardisation `(x - mean) / std` of pixels in [0, 1].

    Hashable, so that it can be closed over by a compiled step.

    Args:
      mean: one number per channel, of pixels in [0, 1].
      std: one positive number per channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: jax.Array) -> jax.Array:
        """Standardises a batch.

        Args:
          images: `[n, H, W, ch]`, uint8 in 0..255 or floats in [0, 1].

        Returns:
          `[n, H, W, ch]` float32.
        """
        return (to_unit_range(images) - jnp.array(self.mean)) / jnp.array(self.std)


def to_unit_range(images: jax.Array) -> jax.Array:
    """uint8 pixels as float32 in [0, 1]; floats are taken to be there already."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255.0
    return images.astype(jnp.float32)
