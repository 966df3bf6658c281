"""Real images of each class, as a parameterisation is fitted to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

CHUNK = 1024
"""Images that are looked at together."""


class RealImages(Protocol):
    """A class-major training set, `csdm_jax.data.host.HostData` for one."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Images of each class."""
        ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, uint8 `[k, H, W, ch]`."""
        ...


def by_class(real: RealImages) -> Iterator[Iterator[np.ndarray]]:
    """The images of one class after the other, a few at a time: float64 `[k, H, W, ch]`, [0, 1]."""
    first = 0
    for count in real.counts:
        yield _chunks(real, first, first + count)
        first += count


def _chunks(real: RealImages, first: int, end: int) -> Iterator[np.ndarray]:
    for start in range(first, end, CHUNK):
        yield real.take(np.arange(start, min(start + CHUNK, end))) / 255.0
