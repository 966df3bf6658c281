"""Layers the networks share, with PyTorch's default initialisation.

The published numbers of distribution matching were made with that initialisation, and random or
half-trained extractors make it visible: Flax's own defaults (LeCun normal, zero bias) are another
distribution of networks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

MAPS = "maps"  # collection in which a network tells what its layers give, where it is asked
FEW_IN, FEW_OUT = 4, 32  # channels; see benchmarks/convolution.py


def scaled(channels: int, width: int) -> int:
    """Published channels at another width, of which 128 is the published one; at least 1."""
    return max(1, channels * width // 128)


def uniform_fan_in(fan_in: int) -> Callable[..., jax.Array]:
    """Initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's for weights and biases alike."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        # Drawn flat: XLA takes 4 times as long to compile a draw in four dimensions.
        return jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound).reshape(shape)

    return init


def xla_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3-like convolution of stride 1 that keeps the side: [n, H, W, c] by [s, s, c, k]."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _forward_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`xla_conv`, the faster way.

    Images of three channels are too thin for XLA's convolution on a CPU: with the neighbours within
    its row laid beside each pixel it is faster, unless many channels come out.
    """
    rows, columns, channels, out = kernel.shape
    if jax.default_backend() != "cpu" or channels > FEW_IN or out > FEW_OUT:
        return xla_conv(x, kernel)
    width = x.shape[2]
    padded = jnp.pad(x, ((0, 0), (0, 0), (columns // 2,) * 2, (0, 0)))
    beside = [padded[:, :, j : j + width] for j in range(columns)]
    return xla_conv(
        jnp.concatenate(beside, axis=-1), kernel.reshape(rows, 1, columns * channels, out)
    )


@jax.custom_vjp
def same_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of stride 1 with an odd kernel, zeros outside; [n, H, W, c] -> [n, H, W, k].

    Its gradient to the pixels is written as the convolution with the mirrored kernel that it is:
    inside a loop XLA's own form of it takes five times as long on a CPU.
    """
    return _forward_conv(x, kernel)


def _same_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return _forward_conv(x, kernel), (x, kernel)


def _same_backward(kept: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    to_kernel = jax.vjp(functools.partial(xla_conv, x), kernel)[1]
    return xla_conv(gradient, kernel[::-1, ::-1].swapaxes(2, 3)), to_kernel(gradient)[0]


same_conv.defvjp(_same_forward, _same_backward)


def _dilated(x: jax.Array, kernel: jax.Array, *_: object, **__: object) -> jax.Array:
    """`same_conv` behind the signature by which Flax calls a convolution."""
    return same_conv(x, kernel)


def conv(
    x: jax.Array, channels: int, size: int = 3, stride: int = 1, use_bias: bool = True
) -> jax.Array:
    """Convolution with odd kernel size and padding size // 2; [n, H, W, c] -> [n, H', W', k]."""
    init = uniform_fan_in(size * size * x.shape[-1])
    return nn.Conv(
        channels,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=use_bias,
        kernel_init=init,
        bias_init=init,
        conv_general_dilated=_dilated if stride == 1 else None,
    )(x)


def linear(x: jax.Array, features: int) -> jax.Array:
    """Fully connected layer; [n, d] -> [n, features]."""
    init = uniform_fan_in(x.shape[-1])
    return nn.Dense(features, kernel_init=init, bias_init=init)(x)


@jax.custom_vjp
def _standardised(x: jax.Array) -> jax.Array:
    """Each image's channels with mean 0 and variance 1."""
    return _standardised_forward(x)[0]


def _standardised_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    centred = x - jnp.mean(x, axis=(1, 2), keepdims=True)
    # In two passes: E[x^2] - E[x]^2 loses all digits on nearly flat channels.
    variance = jnp.mean(jnp.square(centred), axis=(1, 2), keepdims=True)
    factor = jax.lax.rsqrt(variance + 1e-5)
    normal = centred * factor
    return normal, (normal, factor)


def _standardised_backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    normal, factor = kept
    mean, slope = (jnp.mean(y, axis=(1, 2), keepdims=True) for y in (gradient, gradient * normal))
    return (factor * (gradient - mean - normal * slope),)


_standardised.defvjp(_standardised_forward, _standardised_backward)


class InstanceNorm(nn.Module):
    """Flax's layer of this name, in value, parameters and gradient, but faster on a CPU.

    For its gradient one array is kept where differentiating Flax's keeps two, and a step takes less
    time (see benchmarks/README.md).
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        # Types and ranks written out: tests allow no promotion.
        normal = _standardised(x.astype(np.promote_types(x.dtype, np.float32)))
        slope, shift = (y.astype(normal.dtype)[None, None, None] for y in (scale, bias))
        return (normal * slope + shift).astype(np.promote_types(x.dtype, scale.dtype))


def instance_norm(x: jax.Array) -> jax.Array:
    """Each image's channels brought to mean 0 and variance 1, then scaled and shifted.

    Source: Instance Normalization (Ulyanov et al., 2016), with the epsilon of PyTorch's GroupNorm.
    """
    return InstanceNorm()(x)


STATISTICS = ("mean", "variance")
"""Names of the parameters of a batch norm that no gradient moves."""
MOMENTUM = 0.1  # of running statistics, PyTorch's


class BatchNorm(nn.Module):
    """Channels brought to mean 0 and variance 1 over a batch, then scaled and shifted.

    The running statistics are parameters. Where parameters may be written, which makes a pass one
    of training, the batch's own statistics serve, and the running ones move towards them. Elsewhere
    the running ones serve: what is said of an image then does not depend on the others.

    Source: Batch Normalization (Ioffe & Szegedy, 2015), with the epsilon and momentum of PyTorch;
    the running variance is that of the batch, without PyTorch's n / (n - 1).
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.param("mean", nn.initializers.zeros, shape)
        variance = self.param("variance", nn.initializers.ones, shape)
        own = x.astype(np.promote_types(x.dtype, np.float32))
        mean, variance = (jax.lax.stop_gradient(y.astype(own.dtype)) for y in (mean, variance))
        if self.is_mutable_collection("params") and not self.is_initializing():
            before = mean, variance
            mean = jnp.mean(own, axis=(0, 1, 2))
            variance = jnp.mean(jnp.square(own - mean[None, None, None]), axis=(0, 1, 2))
            for name, old, now in zip(STATISTICS, before, (mean, variance), strict=True):
                moved = old + MOMENTUM * (jax.lax.stop_gradient(now) - old)
                self.put_variable("params", name, moved)
        slope = scale.astype(own.dtype) * jax.lax.rsqrt(variance + 1e-5)
        shift = bias.astype(own.dtype) - mean * slope
        normal = own * slope[None, None, None] + shift[None, None, None]
        return normal.astype(np.promote_types(x.dtype, scale.dtype))


def batch_norm(x: jax.Array) -> jax.Array:
    """`BatchNorm`, as a function that a network calls."""
    return BatchNorm()(x)


def with_running(params: Any, statistics: Sequence[tuple[jax.Array, jax.Array]]) -> Any:
    """A network's parameters with other running statistics.

    Args:
      params: nested dicts; `BatchNorm_0` is the first batch norm.
      statistics: mean and variance of the channels, `[c]` each, of every batch norm in order.
    """
    found = dict(params)
    for place, own in enumerate(statistics):
        name = f"BatchNorm_{place}"
        found[name] = found[name] | dict(zip(STATISTICS, own, strict=True))
    return found


def pool(x: jax.Array, reduce: Callable[..., jax.Array]) -> jax.Array:
    """`jnp.mean` or `jnp.max` of 2x2 blocks; an odd last row or column is left out.

    Written as a reshape: the gradient of a maximum over a sliding window takes 3 times as long on
    a CPU. (It shares the gradient among equal maxima; after a ReLU those are zeros.)
    """
    n, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    blocks = x[:, : 2 * rows, : 2 * columns].reshape(n, rows, 2, columns, 2, channels)
    return reduce(blocks, (2, 4))
