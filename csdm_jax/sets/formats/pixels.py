"""Pixel values and layouts: from what a file holds to `[n, H, W, ch]` in [0, 1], and back."""

from __future__ import annotations

import numpy as np

from csdm_jax.sets.formats.base import Format
from csdm_jax.sets.formats.facts import Facts

ROUNDING = 1e-5  # how far float32 arithmetic may leave [0, 1]
# Images optimised in normalised space leave [0, 1]; one that leaves it by more than five times its
# width was normalised with another mean and std.
PLAUSIBLE = 5.0
OVERSHOOT = 0.1
"""How far images in [0, 1] may leave it, as interpolation makes them: more is another space."""
CLIPPED = 1.0
"""The same for images that are to be clipped."""


def from_unit(images: np.ndarray, fmt: Format, facts: Facts) -> np.ndarray:
    """Images `[n, H, W, ch]` in [0, 1] as the format stores them."""
    space = fmt.space or "normalised"
    if space == "normalised":
        mean, std = constants(facts, images.shape[-1])
        images = ((images - mean) / std).astype(np.float32)
    elif space == "uint8":
        images = np.round(images * 255).astype(np.uint8)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) if fmt.layout == "NCHW" else images)


def to_unit(images: np.ndarray, fmt: Format, facts: Facts, *, clip: bool = False) -> np.ndarray:
    """Stored images as float32 `[n, H, W, ch]` on the scale where black is 0 and white 1.

    Images that were normalised may leave [0, 1]: optimising them there does that, and clipping
    would change what networks learn from them. `clip` says that the caller will clip them.

    Raises:
      ValueError: when layout, size or value range are not those of the format and the facts.
    """
    images = check_layout(images, fmt, facts)
    space = facts.space or fmt.space
    if space is None:
        raise ValueError(
            "the files do not say whether the images are normalised or ZCA-whitened: give "
            "space=normalised or space=zca (--space=...), as the set was distilled"
        )
    if space == "zca":
        raise ValueError(
            "ZCA-whitened images cannot be turned into pixels without the whitening matrix, which "
            "is not in the files: undo it with the code that applied it and import the result "
            "with space=unit, or distil without --zca"
        )
    if (images.dtype == np.uint8) != (space == "uint8"):
        raise ValueError(
            f"images in space {space!r} must be {'uint8' if space == 'uint8' else 'floats'}, got "
            f"{images.dtype}: {_remedy(space)}"
        )
    if space == "uint8":
        return images.astype(np.float32) / 255
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
        raise ValueError(
            f"images must be finite, {np.sum(~np.isfinite(images))} of their values are not: "
            "the distillation diverged, or the file is damaged"
        )
    if space == "normalised":
        return _from_normalised(images, facts)
    return _check_unit(images, CLIPPED if clip else OVERSHOOT)


def _remedy(space: str) -> str:
    """What to do with images of the wrong dtype for their space."""
    if space == "uint8":
        return "round them to uint8 in the file, or divide bytes by 255 there and give space=unit"
    return "give space=uint8 (--space=uint8)"


def check_layout(images: np.ndarray, fmt: Format, facts: Facts) -> np.ndarray:
    """The images as NHWC.

    Raises:
      ValueError: when they are no images, or not of the layout or size that is expected.
    """
    axes = "[n, ch, H, W]" if fmt.layout == "NCHW" else "[n, H, W, ch]"
    channel = 1 if fmt.layout == "NCHW" else 3
    if images.ndim != 4 or 0 in images.shape or images.shape[channel] not in (1, 3):
        raise ValueError(
            f"images of this format must be {axes} with ch 1 or 3, got shape {images.shape}: "
            "move the channel axis, or give the format that the file has"
        )
    if not (np.issubdtype(images.dtype, np.floating) or images.dtype == np.uint8):
        raise ValueError(f"images must be floats or uint8, got {images.dtype}: convert them")
    if fmt.layout == "NCHW":
        images = images.transpose(0, 2, 3, 1)
    if facts.image_shape is not None and images.shape[1:] != facts.image_shape:
        raise ValueError(
            f"images must be {facts.image_shape} (H, W, ch) for this data, got "
            f"{images.shape[1:]}: give the set that was distilled from this data"
        )
    return np.ascontiguousarray(images)


def constants(facts: Facts, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of the facts, one number for each channel."""
    if facts.mean is None or facts.std is None:
        raise ValueError(
            "normalised images need the mean and std they were normalised with, and nothing says "
            "them: give mean and std (--mean=... --std=...), or --like=FOLDER of a run on this data"
        )
    if not len(facts.mean) == len(facts.std) == channels:
        raise ValueError(
            f"mean {facts.mean} and std {facts.std} must have one number for each of the "
            f"{channels} channel(s) of the images: give those of this data"
        )
    return np.asarray(facts.mean, np.float32), np.asarray(facts.std, np.float32)


def _check_unit(images: np.ndarray, beyond: float) -> np.ndarray:
    low, high = images.min(), images.max()
    if low < -beyond or high > 1 + beyond:
        raise ValueError(
            f"images in space 'unit' must lie in [0, 1], got {low:.4g}..{high:.4g}: "
            f"{_other_scale(low, high)}"
        )
    return _rounded(images)


def _other_scale(low: float, high: float) -> str:
    """What to do with images that are not in [0, 1]."""
    if low >= 0:
        return "divide them by their white, 255 for bytes, in the file"
    if low >= -CLIPPED and high <= 1 + CLIPPED:
        return (
            "clip=True (--clip) cuts off what lies outside; or, if they are normalised, give "
            "space=normalised with their mean and std"
        )
    return "they look normalised; give space=normalised with their mean and std"


def _rounded(images: np.ndarray) -> np.ndarray:
    """The images without the little by which arithmetic leaves [0, 1]."""
    clipped = np.clip(images, 0, 1)
    return np.where(np.abs(images - clipped) <= ROUNDING, clipped, images)


def _from_normalised(images: np.ndarray, facts: Facts) -> np.ndarray:
    mean, std = constants(facts, images.shape[-1])
    low, high = images.min(), images.max()
    if low >= 0 and mean.min() > 0:
        unit = "they look as if in [0, 1]; give space=unit"
        raise ValueError(
            f"normalised images have values below 0 (dark pixels), got {low:.4g}..{high:.4g}: "
            f"{unit if high <= 1 + OVERSHOOT else _other_scale(low, high)}"
        )
    pixels = images * std + mean
    low, high = pixels.min(), pixels.max()
    if low < -PLAUSIBLE or high > 1 + PLAUSIBLE:
        raise ValueError(
            f"with mean {facts.mean} and std {facts.std} the pixels would be {low:.4g}.."
            f"{high:.4g}, far from [0, 1]: give the mean and std the images were normalised with"
        )
    return _rounded(pixels)
