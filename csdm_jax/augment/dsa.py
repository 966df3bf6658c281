"""Differentiable siamese augmentation: drawing random numbers, and augmenting by a draw."""

from __future__ import annotations

import dataclasses
import functools

import jax

from csdm_jax.augment import ops
from csdm_jax.augment.strategy import OPS, Augmentation


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draw:
    """The random numbers of one augmentation.

    Attributes:
      choice: int32 scalar, which operation of a stage with several is applied. One for the whole
        draw, so that only that operation is computed.
      values: for each operation an array with one entry per class or image on its first axis:
        flip [n] bool, color [n, 3] brightness, saturation and contrast, crop [n, 2] shift, scale
        [n, 2] step, rotate [n] radians, cutout [n, 2, 2] first row and column and the ones after
        the last.
    """

    choice: jax.Array
    values: dict[str, jax.Array]

    def take(self, ids: jax.Array) -> Draw:
        """The draw with entry `ids[i]` for image i, int [n]; the choice is untouched."""
        return Draw(self.choice, jax.tree.map(lambda value: value[ids], self.values))


def draw(
    augmentation: Augmentation, key: jax.Array, count: int, image_shape: tuple[int, ...]
) -> Draw:
    """Random numbers for `count` classes or images of shape (height, width, channels).

    Args:
      augmentation: the operations and their strengths.
      key: a random key; an operation's numbers do not depend on which others are listed.
      count: number of entries.
      image_shape: (height, width, channels).

    Returns:
      The draw, with `count` entries.
    """
    alternatives = max((len(stage) for stage in augmentation.stages), default=1)
    choice = jax.random.randint(jax.random.fold_in(key, len(OPS)), (), 0, alternatives)
    values = {
        op: ops.sample(augmentation, op, jax.random.fold_in(key, OPS.index(op)), count, image_shape)
        for op in augmentation.ops
    }
    return Draw(choice, values)


def apply(augmentation: Augmentation, drawn: Draw, images: jax.Array) -> jax.Array:
    """The images under a draw with one entry per image; differentiable in the pixels.

    Args:
      augmentation: the one the draw was made for.
      drawn: a draw with n entries.
      images: [n, H, W, c], floating, normalised.

    Returns:
      [n, H, W, c] of the same type.

    Raises:
      ValueError: if the draw has not one entry per image.

    Source: DSA (Zhao & Bilen, 2021), A_w of its equation 3: real and synthetic images of a class
    take the same entry.
    """
    for op, value in drawn.values.items():
        if value.shape[0] != images.shape[0]:
            raise ValueError(
                f"the draw of {op} has {value.shape[0]} entries for {images.shape[0]} images: "
                "use draw.take(class_ids)"
            )
    for stage in augmentation.stages:
        branches = [functools.partial(ops.APPLY[op], drawn.values[op]) for op in stage]
        images = jax.lax.switch(drawn.choice, branches, images)
    return images


def augment_each(augmentation: Augmentation, key: jax.Array, images: jax.Array) -> jax.Array:
    """Images [n, H, W, c] with random numbers of their own, for training; same shape and type."""
    count, *image_shape = images.shape
    return apply(augmentation, draw(augmentation, key, count, tuple(image_shape)), images)
