"""Decoding of PNG and JPEG files into uint8 arrays, in parallel."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from csdm_jax.runtime.progress import Progress

CHUNK = 512  # encoded images held in memory at a time
SLICE = 32  # images per task of the thread pool

Item = TypeVar("Item")


class Encoded(NamedTuple):
    """An encoded image, where it came from (for messages) and its label."""

    where: str
    data: bytes
    label: int


def decode(encoded: Encoded, resolution: int | None) -> np.ndarray:
    """One image as `[H, W, 1]` (grey) or `[H, W, 3]` uint8.

    Args:
      encoded: the bytes of a PNG or JPEG file.
      resolution: None keeps the size; a number brings the shorter side to it (bilinear, with
        anti-aliasing) and crops the centre square.

    Raises:
      ValueError: when the bytes are not a whole 8-bit PNG or JPEG image.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded.data), formats=("PNG", "JPEG")) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"its pixels have more than 8 bits (mode {image.mode})")
            pixels = image.convert("L" if image.mode in ("1", "L") else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"cannot decode {encoded.where}: {error}; "
            "replace it by a whole 8-bit PNG or JPEG file, or remove it"
        ) from error
    if resolution is not None:
        scale = resolution / min(pixels.size)
        width, height = (max(resolution, int(side * scale)) for side in pixels.size)
        left, top = (width - resolution) // 2, (height - resolution) // 2
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        pixels = pixels.crop((left, top, left + resolution, top + resolution))
    array = np.asarray(pixels)
    return array[..., None] if array.ndim == 2 else array


def decode_all(
    items: Iterable[Encoded], resolution: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels, in order; grey images among coloured ones become RGB.

    Args:
      items: encoded images, read as they are needed.
      resolution: as in `decode`.

    Returns:
      images `[n, H, W, ch]` uint8 and labels `[n]` int32.

    Raises:
      ValueError: for no image at all, an image that cannot be decoded, or two of different size.
    """
    arrays: list[np.ndarray] = []
    labels: list[int] = []
    iterator = iter(items)
    first = ""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(itertools.islice(iterator, CHUNK)):
            first = first or chunk[0].where
            # One task per slice: a task per small image costs as much as its decoding.
            slices = [chunk[i : i + SLICE] for i in range(0, CHUNK, SLICE)]
            decoded = pool.map(lambda part: [decode(item, resolution) for item in part], slices)
            for encoded, array in zip(chunk, itertools.chain(*decoded), strict=True):
                arrays.append(array)
                labels.append(encoded.label)
                _check_size(first, arrays[0], encoded.where, array)
    if not arrays:
        raise ValueError("there is no image to decode: a split needs at least one image")
    channels = max(array.shape[-1] for array in arrays)
    stacked = np.stack([np.broadcast_to(a, (*a.shape[:2], channels)) for a in arrays])
    return stacked, np.asarray(labels, np.int32)


def _check_size(first: str, expected: np.ndarray, where: str, array: np.ndarray) -> None:
    if array.shape[:2] != expected.shape[:2]:
        (height, width), (other_height, other_width) = expected.shape[:2], array.shape[:2]
        raise ValueError(
            f"all images must have one size: {first} is {width}x{height}, "
            f"{where} is {other_width}x{other_height}: resize them to one size"
        )


def tracked(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """The items unchanged, with a progress display of how many were taken."""
    progress = Progress(label, total)
    try:
        for done, item in enumerate(items, start=1):
            yield item
            if done % CHUNK == 0 or done == total:
                progress.reach(done)
    finally:
        progress.close()
