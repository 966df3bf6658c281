"""How synthetic images are stored: what is optimised, and how it decodes to training images.

A parameterisation is one small file with a class that has the interface of `Parameterisation`,
and one line in `PARAMETERISATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax

from csdm_jax.parameterisations.mosaic import Mosaic
from csdm_jax.parameterisations.pixels import Pixels
from csdm_jax.runtime.registry import Registry, lookup

Stored = dict[str, Any]
"""Named float arrays of any shape, class-major along their first axis, which is a multiple of the
number of classes. What shows as an image is named "images"."""


class Parameterisation(Protocol):
    """The interface every parameterisation has."""

    @property
    def tiles(self) -> int:
        """Training images that one stored image decodes to; as many real images start it."""
        ...

    def encode(self, images: jax.Array) -> Stored:
        """Real images `[n * tiles, H, W, ch]` in [0, 1], class-major, to what stores them."""
        ...

    def decode(self, stored: Stored) -> jax.Array:
        """What is stored to training images `[n * tiles, H, W, ch]`.

        The tiles of one stored image follow one another.
        """
        ...

    def project(self, stored: Stored) -> Stored:
        """The nearest that may be stored: after each update, what has left its range is brought
        back."""
        ...

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raises a ValueError when images of that shape cannot be stored this way."""
        ...


PARAMETERISATIONS: Registry[Callable[[int], Parameterisation]] = Registry(
    "parameterisation",
    "csdm_jax.parameterisations",
    {"pixels": lambda factor: Pixels(), "mosaic": Mosaic},
)


def create(name: str, factor: int) -> Parameterisation:
    """A parameterisation by name.

    Args:
      name: "pixels" (stored as used) or "mosaic" (a grid of `factor` x `factor` small images).
      factor: side of the mosaic's grid, at least 1; not used by "pixels".

    Returns:
      What encodes images, decodes what is stored, and keeps it in its range.

    Raises:
      ValueError: for an unknown name.
    """
    return lookup(PARAMETERISATIONS, name, "parameterisation")(factor)
