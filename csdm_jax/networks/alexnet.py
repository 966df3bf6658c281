"""AlexNet for small images."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from csdm_jax.networks import layers


class AlexNet(nn.Module):
    """Five convolutions with ReLU, max pooling after the first, second and fifth, one linear.

    Every convolution has `width` / 128 of the published channels.

    Source: DatasetCondensation (Zhao et al., 2021), "AlexNet"; it has no normalisation layer.
    """

    num_classes: int
    width: int = 128

    @property
    def min_side(self) -> int:
        """Smallest image side, of which three poolings leave at least one pixel."""
        return 8

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second, third = (layers.scaled(c, self.width) for c in (128, 192, 256))
        x = layers.pool(nn.relu(layers.conv(x, first, size=5)), jnp.max)
        x = layers.pool(nn.relu(layers.conv(x, second, size=5)), jnp.max)
        x = nn.relu(layers.conv(x, third))
        x = nn.relu(layers.conv(x, second))
        x = layers.pool(nn.relu(layers.conv(x, second)), jnp.max)
        features = x.reshape(x.shape[0], -1)
        return layers.linear(features, self.num_classes), features
