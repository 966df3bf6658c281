"""Pixel values and layouts: from what a file holds to `[n, H, W, ch]` in [0, 1], and back."""

from __future__ import annotations

import numpy as np

from csdm_jax.sets.formats.base import Format
from csdm_jax.sets.formats.facts import Facts

ROUNDING = 1e-5  # how far float32 arithmetic may leave [0, 1]
# Images optimised in normalised space leave [0, 1]; one that leaves it by more than five times its
# width was normalised with another mean and std.
PLAUSIBLE = 5.0


def from_unit(images: np.ndarray, form: Format, facts: Facts) -> np.ndarray:
    """Images `[n, H, W, ch]` in [0, 1] as the format stores them."""
    space = form.space or "normalised"
    if space == "normalised":
        mean, std = constants(facts, images.shape[-1])
        images = ((images - mean) / std).astype(np.float32)
    elif space == "uint8":
        images = np.round(images * 255).astype(np.uint8)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) if form.layout == "NCHW" else images)


def to_unit(images: np.ndarray, form: Format, facts: Facts) -> np.ndarray:
    """Stored images as float32 `[n, H, W, ch]` on the scale where black is 0 and white 1.

    Images that were normalised may leave [0, 1]: optimising them there does that, and clipping
    would change what networks learn from them.

    Raises:
      ValueError: when layout, size or value range are not those of the format and the facts.
    """
    images = check_layout(images, form, facts)
    space = facts.space or form.space
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
            f"{images.dtype}: give the space that they are in (uint8, unit or normalised)"
        )
    if space == "uint8":
        return images.astype(np.float32) / 255
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
        raise ValueError(
            f"images must be finite, {np.sum(~np.isfinite(images))} of their values are not: "
            "the distillation diverged, or the file is damaged"
        )
    return _from_normalised(images, facts) if space == "normalised" else _check_unit(images)


def check_layout(images: np.ndarray, form: Format, facts: Facts) -> np.ndarray:
    """The images as NHWC.

    Raises:
      ValueError: when they are no images, or not of the layout or size that is expected.
    """
    axes = "[n, ch, H, W]" if form.layout == "NCHW" else "[n, H, W, ch]"
    channel = 1 if form.layout == "NCHW" else 3
    if images.ndim != 4 or 0 in images.shape or images.shape[channel] not in (1, 3):
        raise ValueError(
            f"images of this format must be {axes} with ch 1 or 3, got shape {images.shape}: "
            "move the channel axis, or give the format that the file has"
        )
    if not (np.issubdtype(images.dtype, np.floating) or images.dtype == np.uint8):
        raise ValueError(f"images must be floats or uint8, got {images.dtype}: convert them")
    if form.layout == "NCHW":
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


def _check_unit(images: np.ndarray) -> np.ndarray:
    low, high = images.min(), images.max()
    if low < -ROUNDING or high > 1 + ROUNDING:
        guess = "uint8" if low >= 0 and high <= 255 else "normalised"
        raise ValueError(
            f"images in space 'unit' must lie in [0, 1], got {low:.4g}..{high:.4g}: they look "
            f"{guess}; give space={guess} with its mean and std, or scale them"
        )
    return np.clip(images, 0, 1)


def _from_normalised(images: np.ndarray, facts: Facts) -> np.ndarray:
    mean, std = constants(facts, images.shape[-1])
    if images.min() >= 0 and mean.min() > 0:
        raise ValueError(
            "normalised images have values below 0 (dark pixels), got "
            f"{images.min():.4g}..{images.max():.4g}: they look as if in [0, 1]; give space=unit"
        )
    pixels = images * std + mean
    low, high = pixels.min(), pixels.max()
    if low < -PLAUSIBLE or high > 1 + PLAUSIBLE:
        raise ValueError(
            f"with mean {facts.mean} and std {facts.std} the pixels would be {low:.4g}.."
            f"{high:.4g}, far from [0, 1]: give the mean and std the images were normalised with"
        )
    rounded = np.clip(pixels, 0, 1)
    return np.where(np.abs(pixels - rounded) <= ROUNDING, rounded, pixels)
