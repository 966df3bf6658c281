"""VGG-11 for small images."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from csdm_jax.networks import layers

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class VGG11(nn.Module):
    """Eight convolutions with instance norm and ReLU in five max-pooled stages, one linear.

    The last map is averaged over its pixels (one pixel at 32x32), so every image size has the same
    number of features, 512. Every stage has `width` / 128 of the published channels.

    Source: DatasetCondensation (Zhao et al., 2021), "VGG11" with instance norm.
    """

    num_classes: int
    width: int = 128

    @property
    def min_side(self) -> int:
        """Smallest image side, of which five poolings leave at least one pixel."""
        return 2 ** len(STAGES)

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for stage in STAGES:
            for channels in stage:
                x = layers.conv(x, layers.scaled(channels, self.width))
                x = layers.instance_norm(x, rectified=True)
            x = layers.pool(x, jnp.max)
        features = x.mean((1, 2))
        return layers.linear(features, self.num_classes), features
