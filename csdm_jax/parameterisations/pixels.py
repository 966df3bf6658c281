"""Synthetic images stored as they are used."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Pixels:
    """One stored image is one training image."""

    tiles = 1

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Every shape can be stored."""

    def encode(self, images: jax.Array) -> dict[str, jax.Array]:
        """`[n, H, W, ch]` as they are."""
        return self.project({"images": images})

    def decode(self, stored: dict[str, jax.Array]) -> jax.Array:
        """The images themselves, `[n, H, W, ch]`."""
        return stored["images"]

    def project(self, stored: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Pixels clipped to [0, 1]."""
        return {"images": jnp.clip(stored["images"], 0.0, 1.0)}
