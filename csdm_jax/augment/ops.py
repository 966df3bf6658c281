"""The operations of DSA: their random numbers, and their action on a batch of images."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from csdm_jax.augment.strategy import Augmentation


def sample(
    augmentation: Augmentation,
    op: str,
    key: jax.Array,
    count: int,
    image_shape: tuple[int, ...],
) -> jax.Array:
    """Random numbers of one operation, as `Draw.values` describes them."""
    sides = np.array([image_shape[:2]], np.int32)
    if op == "flip":
        return jax.random.bernoulli(key, augmentation.flip, (count,))
    if op == "color":
        brightness, contrast = augmentation.brightness, augmentation.contrast
        low = jnp.array([[-brightness / 2, 0.0, contrast]])
        high = jnp.array([[brightness / 2, augmentation.saturation, contrast + 1]])
        return jax.random.uniform(key, (count, 3), minval=low, maxval=high)
    if op == "crop":
        reach = _fraction(augmentation.crop, sides)
        return jax.random.randint(key, (count, 2), -reach, reach + 1)
    if op == "scale":
        largest = augmentation.scale
        return jax.random.uniform(key, (count, 2), minval=1 / largest, maxval=largest)
    if op == "rotate":
        largest = math.radians(augmentation.rotate)
        return jax.random.uniform(key, (count,), minval=-largest, maxval=largest)
    size = _fraction(augmentation.cutout, sides)
    # A square of even side lies symmetrically about a pixel's corner, of which there is one more.
    return box(jax.random.randint(key, (count, 2), 0, sides + 1 - size % 2), size)


def _fraction(fraction: float, sides: np.ndarray) -> np.ndarray:
    """A fraction of the sides, rounded to whole pixels."""
    return np.floor(fraction * sides + 0.5).astype(sides.dtype)


def box(centre: jax.Array, size: jax.Array | np.ndarray) -> jax.Array:
    """[n, 2, 2]: first row and column, and the ones after the last; centre [n, 2], size [1, 2]."""
    first = centre - size // 2
    return jnp.stack([first, first + size], axis=1)


def inside(box: jax.Array, height: int, width: int) -> jax.Array:
    """[n, H, W, 1]: whether a pixel lies in its image's box."""
    pixel = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), -1)
    first, end = box[:, 0, None, None], box[:, 1, None, None]
    return ((first <= pixel[None]) & (pixel[None] < end)).all(-1, keepdims=True)


def flip(flipped: jax.Array, images: jax.Array) -> jax.Array:
    """Left and right exchanged where `flipped` [n] holds."""
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def color(amounts: jax.Array, images: jax.Array) -> jax.Array:
    """Brightness, then saturation about the pixel's mean, then contrast about the image's.

    The amounts [n, 3] are the added brightness and the two factors.
    """
    shift, saturation, contrast = amounts.astype(images.dtype).T[..., None, None, None]
    pixel_mean = images.mean(3, keepdims=True)
    image_mean = pixel_mean.mean((1, 2), keepdims=True)
    saturated = saturation * images + (1 - saturation) * pixel_mean
    return contrast * saturated + (1 - contrast) * image_mean + shift


def crop(shift: jax.Array, images: jax.Array) -> jax.Array:
    """Shift by whole pixels [n, 2], zeros outside: pixel i reads i + shift."""
    height, width = images.shape[1:3]
    rows = jnp.arange(height)[None] + shift[:, :1]
    columns = jnp.arange(width)[None] + shift[:, 1:]
    return _resample(images, rows, columns)


def scale(step: jax.Array, images: jax.Array) -> jax.Array:
    """Sampling at steps [n, 2] about the image's centre, bilinear, zeros outside."""
    height, width = images.shape[1:3]
    rows = step[:, :1] * _centred(height, step.dtype)[None] + (height - 1) / 2
    columns = step[:, 1:] * _centred(width, step.dtype)[None] + (width - 1) / 2
    return _resample(images, rows, columns)


def rotate(angle: jax.Array, images: jax.Array) -> jax.Array:
    """Rotation by angles [n] about the image's centre, bilinear, zeros outside."""
    height, width = images.shape[1:3]
    y, x = _centred(height, angle.dtype)[:, None], _centred(width, angle.dtype)[None]

    def rotate_one(angle: jax.Array, image: jax.Array) -> jax.Array:
        rows = jnp.sin(angle) * x + jnp.cos(angle) * y + (height - 1) / 2
        columns = jnp.cos(angle) * x - jnp.sin(angle) * y + (width - 1) / 2
        read = functools.partial(map_coordinates, order=1, mode="constant")
        return jax.vmap(read, (2, None), 2)(image, [rows, columns])

    return jax.vmap(rotate_one)(angle, images)


def cutout(hole: jax.Array, images: jax.Array) -> jax.Array:
    """Zeros inside one box per image, [n, 2, 2]."""
    return jnp.where(inside(hole, *images.shape[1:3]), 0, images)


def _resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear reading at rows [n, H] and columns [n, W], zeros outside.

    Two products with banded matrices, so the gradient is two products as well, not a scatter.
    In full precision: the default one of GPU and TPU would round the pixels.
    """

    def weights(positions: jax.Array) -> jax.Array:
        pixels = jnp.arange(positions.shape[1], dtype=positions.dtype)
        distance = jnp.abs(positions[:, :, None] - pixels[None, None])
        return jnp.maximum(1 - distance, 0).astype(images.dtype)

    images = jnp.einsum("nij,njwc->niwc", weights(rows), images, precision="highest")
    return jnp.einsum("nkw,niwc->nikc", weights(columns), images, precision="highest")


def _centred(side: int, dtype: jnp.dtype) -> jax.Array:
    """Pixel positions relative to the image's centre, [side]."""
    return jnp.arange(side, dtype=dtype) - (side - 1) / 2


APPLY = {
    "flip": flip,
    "color": color,
    "crop": crop,
    "scale": scale,
    "rotate": rotate,
    "cutout": cutout,
}
"""What each operation does, as a function of its entry of `Draw.values` and images [n, H, W, c]."""
