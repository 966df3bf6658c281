"""ConvNet-D, the usual extractor of dataset distillation."""

from __future__ import annotations

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from csdm_jax.networks import layers


class ConvNet(nn.Module):
    """`depth` blocks of conv 3x3, instance norm, ReLU and 2x2 average pooling, then one linear.

    Source: DatasetCondensation (Zhao et al., 2021), "ConvNet" with instance norm.
    """

    num_classes: int
    depth: int = 3
    width: int = 128

    norm: ClassVar[Any] = staticmethod(layers.instance_norm)
    tells_maps: ClassVar[bool] = True  # of each block, before its pooling

    @property
    def min_side(self) -> int:
        """Smallest image side, for which each block halves it and the last map has a pixel."""
        return 2**self.depth

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for _ in range(self.depth):
            x = layers.conv(x, self.width)
            x = self.norm(x, rectified=True)
            self.sow(layers.MAPS, "map", x)
            x = layers.pool(x, jnp.mean)
        features = x.reshape(x.shape[0], -1)
        return layers.linear(features, self.num_classes), features


class ConvNetBatchNorm(ConvNet):
    """The ConvNet with batch norm in place of instance norm: its statistics can be matched."""

    norm: ClassVar[Any] = staticmethod(layers.batch_norm)
    keeps_statistics: ClassVar[bool] = True  # of batches, among its parameters
