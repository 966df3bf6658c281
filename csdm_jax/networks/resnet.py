"""ResNet-18 for small images."""

from __future__ import annotations

import flax.linen as nn
import jax

from csdm_jax.networks import layers

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the stage's first block


def residual_block(x: jax.Array, channels: int, stride: int) -> jax.Array:
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where shapes change."""
    y = layers.conv(x, channels, stride=stride, use_bias=False)
    y = layers.instance_norm(y, rectified=True)
    y = layers.instance_norm(layers.conv(y, channels, use_bias=False))
    if stride != 1 or x.shape[-1] != channels:
        x = layers.instance_norm(layers.conv(x, channels, size=1, stride=stride, use_bias=False))
    return nn.relu(x + y)


class ResNet18(nn.Module):
    """Stem conv 3x3 of stride 1 without pooling, four stages of two blocks, global average, linear.

    Every stage has `width` / 128 of the published channels.

    Source: DatasetCondensation (Zhao et al., 2021), "ResNet18" with instance norm.
    """

    num_classes: int
    width: int = 128

    @property
    def min_side(self) -> int:
        """Smallest image side, of which three halvings, rounded up, leave a 2x2 map.

        Instance norm of a single pixel is zero whatever the image.
        """
        return 9

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        stem = layers.scaled(STAGES[0][0], self.width)
        x = layers.instance_norm(layers.conv(x, stem, use_bias=False), rectified=True)
        for published, stride in STAGES:
            channels = layers.scaled(published, self.width)
            x = residual_block(x, channels, stride)
            x = residual_block(x, channels, 1)
        features = x.mean((1, 2))
        return layers.linear(features, self.num_classes), features
