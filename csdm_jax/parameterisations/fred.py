"""FreD (Shin et al. 2023): a class's images share the frequencies in which it varies most.

An image is stored as its coefficients in the orthonormal two-dimensional DCT-II of each channel, at
`H W // f^2` places alone. A class has one mask of places, all channels share it: those of largest
variance over its training images, the explained variance. So that f^2 images take the room of one,
as in a mosaic of factor f, and IPC images train as `f^2 IPC`.

A class of fewer than `LEAST` training images says nothing of its variance: it has the mask of all
training images together. Of places that vary alike the lowest frequencies come first.

The mask is part of the distilled set, so that it is decoded without the data; it counts as a bit a
place, on top of the budget. No range of the coefficients keeps pixels in [0, 1]: decoding cuts
pixels to it, and a pixel that is cut has no gradient.

Source: Shin, Shin & Moon, "Frequency Domain-based Dataset Distillation", NeurIPS 2023.
Deviations: the mask is of all training images of a class, with the variance summed over channels
(the authors' code: of the first synthetic images, with the variance of the channels' mean); pixels
are cut to [0, 1]; the number of places is `H W // f^2` for a whole f alone.
Licence: Apache-2.0.
Status: tested; of the authors' settings some places of IPC 10 are in their paper alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.parameterisations.real import RealImages, by_class

LEAST = 3
"""Training images from which on a class has a mask of its own."""


def cosines(size: int) -> np.ndarray:
    """The orthonormal DCT-II: float64 `[size, size]`, a frequency a row; times its transpose one.

    `D[k, x] = sqrt((2 - [k = 0]) / size) cos(pi k (x + 1/2) / size)`
    """
    k, x = np.ogrid[:size, :size]
    return np.sqrt(np.where(k == 0, 1, 2) / size) * np.cos(np.pi * k * (x + 0.5) / size)


def moments(images: Iterable[np.ndarray]) -> np.ndarray:
    """Number, sum and sum of squares of the coefficients of images.

    Args:
      images: float64 `[k, H, W, ch]`, several times.

    Returns:
      float64 `[3, H, W, ch]`.
    """
    total: np.ndarray | float = 0.0
    for some in images:
        rows, columns = cosines(some.shape[1]), cosines(some.shape[2])
        waves = np.einsum("uh,nhwc,vw->nuvc", rows, some, columns, optimize=True)
        number = np.full(waves.shape[1:], float(len(waves)))
        total = total + np.stack([number, waves.sum(0), (waves**2).sum(0)])
    return np.asarray(total)


def variance(found: np.ndarray) -> np.ndarray:
    """The variance of each place, summed over channels: float64 `[H, W]`, of `moments`."""
    number, total, squares = found
    return (squares / number - (total / number) ** 2).sum(axis=-1)


def mask_of(varying: np.ndarray, places: int) -> np.ndarray:
    """The places of largest variance.

    Args:
      varying: `[H, W]`, the variance of each.
      places: how many.

    Returns:
      float32 `[H, W]`, ones there and zeros elsewhere.
    """
    frequency = np.add.outer(*map(np.arange, varying.shape)).ravel()
    order = np.lexsort((frequency, -varying.ravel()))[:places]
    mask = np.zeros(varying.size, np.float32)
    mask[order] = 1.0
    return mask.reshape(varying.shape)


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class FreD:
    """DCT coefficients at the places where a class varies most, f^2 images in the room of one.

    What is stored: `coefficients`, float32 `[n, f^2, H W // f^2, ch]`, and `mask`, float32
    `[C, H, W]` of zeros and ones; the places of a mask are counted row by row.

    Args:
      factor: f, at least 1.
      mask: of each class, `[C, H, W]`; None before `fit`.
    """

    factor: int
    mask: np.ndarray | None = None

    @property
    def tiles(self) -> int:
        """Images whose coefficients take the room of one image."""
        return self.factor**2

    def places(self, height: int, width: int) -> int:
        """Coefficients of a channel."""
        return height * width // self.tiles

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raises a ValueError when there would be no coefficient."""
        height, width, _ = image_shape
        if not self.places(height, width):
            raise ValueError(
                f"fred stores H W // factor^2 coefficients of a channel: images are {height} x "
                f"{width}, with the factor {self.factor} that is none; choose a smaller "
                "distill.factor"
            )

    def check_ipc(self, image_shape: tuple[int, int, int], ipc: int) -> None:
        """Every number of images can be stored."""

    def fit(self, real: RealImages) -> FreD:
        """The same with the masks of training images."""
        found = [moments(images) for images in by_class(real)]
        together = variance(np.sum(found, axis=0))
        own = [
            variance(one) if count >= LEAST else together
            for one, count in zip(found, real.counts, strict=True)
        ]
        places = self.places(*together.shape)
        return dataclasses.replace(self, mask=np.stack([mask_of(one, places) for one in own]))

    def encode(self, images: jax.Array) -> dict[str, jax.Array]:
        """Coefficients of `[n f^2, H, W, ch]`, as many of each class, at the places of its mask.

        Raises:
          ValueError: before `fit`.
        """
        if self.mask is None:
            raise ValueError("fred has no mask yet: fit it to training images, as a Context does")
        rows, columns = (jnp.asarray(cosines(side), jnp.float32) for side in images.shape[1:3])
        waves = jnp.einsum("uh,nhwc,vw->nuvc", rows, images, columns, precision="highest")
        each = waves.reshape(len(self.mask), -1, self.mask[0].size, waves.shape[-1])
        kept = [own[:, np.flatnonzero(m)] for own, m in zip(each, self.mask, strict=True)]
        chosen = jnp.concatenate(kept)
        coefficients = chosen.reshape(-1, self.tiles, *chosen.shape[1:])
        return {"coefficients": coefficients, "mask": jnp.asarray(self.mask)}

    def decode(self, stored: dict[str, jax.Array]) -> jax.Array:
        """The images `[n f^2, H, W, ch]` in [0, 1]: zeros beside the mask, inverse DCT, cut."""
        mask, kept = stored["mask"], stored["coefficients"]
        classes, height, width = mask.shape
        there = mask.reshape(classes, -1) > 0.5
        of_class = kept.reshape(classes, -1, *kept.shape[2:])  # [C, images, places, ch]
        number = jnp.maximum(jnp.cumsum(there, axis=1) - 1, 0)
        # Whole rows are gathered, [images, ch] each: scattered back one by one they would be slow.
        waves = jax.vmap(lambda rows, at: rows[at])(of_class.swapaxes(1, 2), number)
        waves = jnp.where(there[..., None, None], waves, 0.0)
        waves = waves.reshape(classes, height, width, *waves.shape[2:])
        rows, columns = (jnp.asarray(cosines(size), kept.dtype) for size in (height, width))
        images = jnp.einsum("cuvnk,uh,vw->cnhwk", waves, rows, columns, precision="highest")
        return jnp.clip(images.reshape(-1, height, width, kept.shape[-1]), 0.0, 1.0)

    def project(self, stored: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Coefficients as they are; the mask is zeros and ones again after a weight decay."""
        return stored | {"mask": jnp.round(stored["mask"])}
