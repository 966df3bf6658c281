"""A ConvNet without normalisation whose width doubles from block to block."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from csdm_jax.networks import layers


class ConvNetDoubling(nn.Module):
    """`depth` blocks of conv 3x3, ReLU and 2x2 average pooling, then one linear.

    The first block has `width` channels, each other one twice as many as the one before it.

    Source: FRePo (Zhou et al., 2022), "Conv" with the identity as its normalisation.
    """

    num_classes: int
    depth: int = 3
    width: int = 128

    @property
    def min_side(self) -> int:
        """Smallest image side, for which each block halves it and the last map has a pixel."""
        return 2**self.depth

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for block in range(self.depth):
            x = layers.pool(nn.relu(layers.conv(x, self.width * 2**block)), jnp.mean)
        features = x.reshape(x.shape[0], -1)
        return layers.linear(features, self.num_classes), features
