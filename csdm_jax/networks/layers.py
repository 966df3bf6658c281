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


def _beside(x: jax.Array, columns: int) -> jax.Array:
    """At each pixel its neighbours within the row, too: [n, H, W, c] -> [n, H, W, columns * c]."""
    width = x.shape[2]
    padded = jnp.pad(x, ((0, 0), (0, 0), (columns // 2,) * 2, (0, 0)))
    return jnp.concatenate([padded[:, :, j : j + width] for j in range(columns)], axis=-1)


def _is_thin(x: jax.Array) -> bool:
    """Whether there are too few channels for XLA's own convolution on a CPU."""
    return jax.default_backend() == "cpu" and x.shape[-1] <= FEW_IN


def _forward_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`xla_conv`, the faster way.

    Of thin images it is that with the neighbours laid beside, unless many channels come out.
    """
    rows, columns, channels, out = kernel.shape
    if not _is_thin(x) or out > FEW_OUT:
        return xla_conv(x, kernel)
    return xla_conv(_beside(x, columns), kernel.reshape(rows, 1, columns * channels, out))


def _kernel_gradient(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
    """What the gradient [n, H, W, k] of a convolution is for its kernel, the faster way.

    Of thin images: with the neighbours laid beside, a matrix product for each row of the kernel.
    """
    if not _is_thin(x):
        return jax.vjp(functools.partial(xla_conv, x), kernel)[1](gradient)[0]
    rows, columns = kernel.shape[:2]
    height = x.shape[1]
    beside = jnp.pad(_beside(x, columns), ((0, 0), (rows // 2,) * 2, (0, 0), (0, 0)))
    pixels = gradient.reshape(-1, gradient.shape[-1])
    found = [beside[:, i : i + height].reshape(len(pixels), -1).T @ pixels for i in range(rows)]
    return _of_its_kind(kernel, jnp.stack(found).reshape(kernel.shape))


def _of_its_kind(leaf: jax.Array, gradient: jax.Array) -> jax.Array:
    """A parameter's gradient, summed over the devices that share the parameter.

    Inside `jax.shard_map` a gradient of one's own has to be as the parameter is. The transposed sum
    of the two sees to that; elsewhere it is the gradient as it came.
    """
    return jax.vjp(lambda own: own + gradient, leaf)[1](gradient)[0]


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
    to_pixels = xla_conv(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    return to_pixels, _kernel_gradient(x, kernel, gradient)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normed(x: jax.Array, scale: jax.Array, bias: jax.Array, rectified: bool) -> jax.Array:
    """Each image's channels with mean 0 and variance 1, times a scale and plus a bias, and ReLU.

    For its gradient one array is kept where differentiating Flax's layer keeps two. The gradient of
    scale and bias are sums that the one of the pixels needs anyway.

    Args:
      x: [n, H, W, c].
      scale: [c].
      bias: [c].
      rectified: whether with ReLU.
    """
    return _normed_forward(x, scale, bias, rectified)[0]


def _normed_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, rectified: bool
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    centred = x - jnp.mean(x, axis=(1, 2), keepdims=True)
    # In two passes: E[x^2] - E[x]^2 loses all digits on nearly flat channels.
    variance = jnp.mean(jnp.square(centred), axis=(1, 2), keepdims=True)
    factor = jax.lax.rsqrt(variance + 1e-5)
    normal = centred * factor
    scaled = _scaled(normal, scale, bias)
    return nn.relu(scaled) if rectified else scaled, (normal, factor, scale, bias)


def _scaled(normal: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    return normal * scale[None, None, None] + bias[None, None, None]


def _normed_backward(
    rectified: bool, kept: tuple[jax.Array, ...], gradient: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    normal, factor, scale, bias = kept
    if rectified:
        gradient = jnp.where(_scaled(normal, scale, bias) > 0, gradient, 0)
    if jax.default_backend() == "cpu":
        # Two sums and the result read it: without the barrier each makes it anew.
        gradient = jax.lax.optimization_barrier(gradient)
    mean, slope = (jnp.mean(y, axis=(1, 2), keepdims=True) for y in (gradient, gradient * normal))
    to_pixels = factor * scale[None, None, None] * (gradient - mean - normal * slope)
    pixels = normal.shape[1] * normal.shape[2]
    to_scale, to_bias = (pixels * jnp.sum(y, axis=(0, 1, 2)) for y in (slope, mean))
    return to_pixels, _of_its_kind(scale, to_scale), _of_its_kind(bias, to_bias)


normed.defvjp(_normed_forward, _normed_backward)


class InstanceNorm(nn.Module):
    """Flax's layer of this name, in value, parameters and gradient, but faster on a CPU.

    With ReLU where it is `rectified` (see benchmarks/README.md).
    """

    rectified: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        # Types and ranks written out: tests allow no promotion.
        own = x.astype(np.promote_types(x.dtype, np.float32))
        out = normed(own, *(y.astype(own.dtype) for y in (scale, bias)), self.rectified)
        return out.astype(np.promote_types(x.dtype, scale.dtype))


def instance_norm(x: jax.Array, rectified: bool = False) -> jax.Array:
    """Each image's channels brought to mean 0 and variance 1, then scaled and shifted, and ReLU.

    Source: Instance Normalization (Ulyanov et al., 2016), with the epsilon of PyTorch's GroupNorm.

    Args:
      x: [n, H, W, c].
      rectified: whether with ReLU.
    """
    return InstanceNorm(rectified)(x)


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


def batch_norm(x: jax.Array, rectified: bool = False) -> jax.Array:
    """`BatchNorm`, as a function that a network calls; with ReLU where it is `rectified`."""
    normal = BatchNorm()(x)
    return nn.relu(normal) if rectified else normal


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
