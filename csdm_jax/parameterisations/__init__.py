"""How synthetic images are stored: what is optimised, and how it decodes to training images.

A parameterisation is one small file with a class that has the interface of `Parameterisation`,
and one line in `PARAMETERISATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax

from csdm_jax.parameterisations.fred import FreD
from csdm_jax.parameterisations.mosaic import Mosaic
from csdm_jax.parameterisations.nsd import NSD
from csdm_jax.parameterisations.pixels import Pixels
from csdm_jax.parameterisations.real import RealImages
from csdm_jax.runtime.registry import Registry, lookup

Stored = dict[str, Any]
"""Named float arrays of any shape, class-major along their first axis, which is a multiple of the
number of classes. What shows as an image is named "images"; an array of zeros and ones that says
where others' numbers belong is named "mask", and counts as bits."""


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


@runtime_checkable
class OfClasses(Protocol):
    """What a parameterisation has beside, that stores images of a class by what they share.

    Its `encode` takes as many images of each class, and follows a `fit`.
    """

    def fit(self, real: RealImages) -> Parameterisation:
        """The same with what it takes from the training images of each class."""
        ...

    def check_ipc(self, image_shape: tuple[int, int, int], ipc: int) -> None:
        """Raises a ValueError when so few stored images of a class leave no room to share."""
        ...


PARAMETERISATIONS: Registry[Callable[[int], Parameterisation]] = Registry(
    "parameterisation",
    "csdm_jax.parameterisations",
    {"pixels": lambda factor: Pixels(), "mosaic": Mosaic, "fred": FreD, "nsd": NSD},
)


def create(name: str, factor: int) -> Parameterisation:
    """A parameterisation by name.

    Args:
      name: "pixels" (stored as used), "mosaic" (a grid of small images), "fred" (coefficients at
        the frequencies in which a class varies most) or "nsd" (tensors of a class, paired with its
        kernels).
      factor: f, at least 1; f^2 images take the room of one. Not used by "pixels".

    Returns:
      What encodes images, decodes what is stored, and keeps it in its range.

    Raises:
      ValueError: for an unknown name.
    """
    return lookup(PARAMETERISATIONS, name, "parameterisation")(factor)


def size(stored: Any) -> int:
    """Bytes of stored arrays by name: 4 of a number, and of a "mask" a bit of an entry."""
    return sum(
        -(-array.size // 8) if name == "mask" else 4 * array.size for name, array in stored.items()
    )
