"""AlexNet for small images."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from csdm_jax.networks import layers


class AlexNet(nn.Module):
    """Five convolutions with ReLU, max pooling after the first, second and fifth, one linear.

    Source: DatasetCondensation (Zhao et al., 2021), "AlexNet"; it has no normalisation layer.
    """

    num_classes: int

    @property
    def min_side(self) -> int:
        """Smallest image side: three poolings leave at least one pixel."""
        return 8

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = layers.pool(nn.relu(layers.conv(x, 128, size=5)), jnp.max)
        x = layers.pool(nn.relu(layers.conv(x, 192, size=5)), jnp.max)
        x = nn.relu(layers.conv(x, 256))
        x = nn.relu(layers.conv(x, 192))
        x = layers.pool(nn.relu(layers.conv(x, 192)), jnp.max)
        features = x.reshape(x.shape[0], -1)
        return layers.linear(features, self.num_classes), features
