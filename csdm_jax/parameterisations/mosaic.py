"""Multi-formation (IDC, Kim et al. 2022): a stored image is a grid of small images.

With factor f, each stored image holds f x f images of 1/f the side; `decode` cuts them out and
up-samples them bilinearly, so that IPC images train as `f^2 IPC`.
"""

from __future__ import annotations

import dataclasses

import jax

from csdm_jax.parameterisations.pixels import Pixels


@dataclasses.dataclass(frozen=True)
class Mosaic(Pixels):
    """A grid of `factor` x `factor` images in each stored one.

    Args:
      factor: side of the grid, at least 1.
    """

    factor: int

    @property
    def tiles(self) -> int:  # type: ignore[override]
        """Images in one stored image."""
        return self.factor**2

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raises a ValueError when the sides are no multiples of the factor."""
        height, width, _ = image_shape
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"a mosaic needs sides that are multiples of its factor: images are {height} x "
                f"{width}, the factor is {self.factor}; choose a divisor, or "
                "parameterisation 'pixels'"
            )

    def encode(self, images: jax.Array) -> dict[str, jax.Array]:
        """Down-samples `n f^2` images and lays them out in `n` grids, row by row ("mix")."""
        count, height, width, channels = images.shape
        f = self.factor
        small = jax.image.resize(
            images, (count, height // f, width // f, channels), "bilinear", antialias=True
        )
        grid = small.reshape(count // f**2, f, f, height // f, width // f, channels)
        stored = grid.swapaxes(2, 3).reshape(count // f**2, height, width, channels)
        return super().encode(stored)

    def decode(self, stored: dict[str, jax.Array]) -> jax.Array:
        """Cuts `[n, H, W, ch]` into tiles and up-samples each to `[n f^2, H, W, ch]`."""
        images = super().decode(stored)
        count, height, width, channels = images.shape
        f = self.factor
        grid = images.reshape(count, f, height // f, f, width // f, channels).swapaxes(2, 3)
        small = grid.reshape(count * f**2, height // f, width // f, channels)
        return jax.image.resize(small, (count * f**2, height, width, channels), "bilinear")
