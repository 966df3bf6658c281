"""Decoding of image files into uint8 arrays, in parallel: the one rule for all sources.

Whatever Pillow reads is read, but for formats that start another program or hold no pixels
(`REFUSED`). Of an animation the first frame counts. In this order:

1. depth: of 16-bit and 12-bit pixels the upper eight bits are kept, so that the largest value that
   the depth allows becomes 255, in grey images as in coloured ones; 32-bit integers and floats say
   no largest value and are refused;
2. transparency: an alpha channel, or a transparent colour, is composed on `BACKGROUND`;
3. colour: CMYK, palettes, YCbCr and so on become RGB; grey and black-and-white become grey;
4. the EXIF orientation is applied;
5. size: see `decode`.

Raise `RULE` whenever pixels change.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
from absl import logging

from csdm_jax.runtime.progress import Progress

RULE = 2
BACKGROUND = 255
"""White, grey or RGB: what is seen through transparent pixels."""
REFUSED = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG")
CHUNK = 512  # encoded images held in memory at a time
SLICE = 32  # images per task of the thread pool

Item = TypeVar("Item")


class Encoded(NamedTuple):
    """An encoded image, where it came from (for messages) and its label."""

    where: str
    data: bytes
    label: int


@functools.cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read."""
    from PIL import Image

    Image.init()
    return tuple(sorted(set(Image.OPEN) - set(REFUSED)))


@functools.cache
def suffixes() -> frozenset[str]:
    """Endings of files that are read, `.png` for instance, in lower case."""
    from PIL import Image

    known = formats()
    return frozenset(
        s.lower() for s, kind in Image.registered_extensions().items() if kind in known
    )


def is_image(data: bytes) -> bool:
    """Whether a file of an unknown ending holds an image that is read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=formats()):
            return True
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def decode(encoded: Encoded, resolution: int | None, resize: str = "crop") -> np.ndarray:
    """One image as `[H, W, 1]` (grey) or `[H, W, 3]` uint8.

    Args:
      encoded: the bytes of an image file.
      resolution: None keeps the size; otherwise the side of the square that comes out.
      resize: "crop" brings the shorter side to `resolution` and crops the centre square, "stretch"
        brings both sides to it (bilinear, with anti-aliasing).

    Raises:
      ValueError: when the bytes are not a whole image, or one whose depth has no stated maximum.
    """
    return _decode(encoded, resolution, resize)[0]


def _decode(encoded: Encoded, resolution: int | None, resize: str) -> tuple[np.ndarray, bool]:
    """The pixels, and whether there were further frames."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded.data), formats=formats()) as image:
            animated = bool(getattr(image, "is_animated", False))
            orientation = image.getexif().get(_ORIENTATION, 1)
            pixels = _composed(image)
            if orientation != 1:
                pixels.getexif()[_ORIENTATION] = orientation
                pixels = ImageOps.exif_transpose(pixels)
    except (
        OSError, SyntaxError, ValueError, TypeError, EOFError, Image.DecompressionBombError
    ) as error:  # fmt: skip
        why = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(
            f"cannot decode {encoded.where}: {why}; replace it by a whole image of 8 or 16 bits "
            "a channel (PNG, JPEG and others), or remove it"
        ) from error
    array = np.asarray(pixels if resolution is None else _sized(pixels, resolution, resize))
    return (array[..., None] if array.ndim == 2 else array), animated


_ORIENTATION = 0x0112  # the EXIF tag


def _composed(image: Any) -> Any:
    """The image as "L" or "RGB", 8 bits, on the background."""
    from PIL import Image

    grey = image.mode in ("1", "L", "LA", "La") or image.mode[0] in "IF"
    if image.mode[0] in "IF":
        values = np.asarray(image)
        shown = np.right_shift(values, _depth(image) - 8).astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):
            shown = np.where(values == clear, np.uint8(BACKGROUND), shown)
        return Image.fromarray(shown)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (BACKGROUND,) * 4), image)
    return image.convert("L" if grey else "RGB")


def _depth(image: Any) -> int:
    """Bits of a grey image that has more than eight.

    Raises:
      ValueError: where the file says no largest value.
    """
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(258, (16,))  # TIFF's BitsPerSample
        return 12 if tuple(bits) == (12,) else 16
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # Pillow scales both to 16 bits
        return 16
    raise ValueError(f"its pixels are {image.mode}, 32-bit numbers without a largest value")


def _sized(pixels: Any, resolution: int, resize: str) -> Any:
    from PIL import Image

    if resize == "stretch":
        return pixels.resize((resolution, resolution), Image.Resampling.BILINEAR)
    scale = resolution / min(pixels.size)
    width, height = (max(resolution, int(side * scale)) for side in pixels.size)
    left, top = (width - resolution) // 2, (height - resolution) // 2
    pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    return pixels.crop((left, top, left + resolution, top + resolution))


def decode_all(
    items: Iterable[Encoded], resolution: int | None = None, resize: str = "crop"
) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels, in order; grey images among coloured ones become RGB.

    Args:
      items: encoded images, read as they are needed.
      resolution: as in `decode`.
      resize: as in `decode`.

    Returns:
      images `[n, H, W, ch]` uint8 and labels `[n]` int32.

    Raises:
      ValueError: for no image at all, an image that cannot be decoded, or two of different size.
    """
    arrays: list[np.ndarray] = []
    labels: list[int] = []
    iterator = iter(items)
    first, animations = "", 0
    broken: list[ValueError] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(itertools.islice(iterator, CHUNK)):
            first = first or chunk[0].where
            # One task per slice: a task per small image costs as much as its decoding.
            slices = [chunk[i : i + SLICE] for i in range(0, CHUNK, SLICE)]
            decoded = pool.map(
                lambda part: [_tried(item, resolution, resize) for item in part], slices
            )
            for encoded, one in zip(chunk, itertools.chain(*decoded), strict=True):
                if isinstance(one, ValueError):
                    broken.append(one)
                    continue
                array, animated = one
                arrays.append(array)
                labels.append(encoded.label)
                animations += animated
                _check_size(first, arrays[0], encoded.where, array)
    if broken:
        others = "; ".join(str(one).partition(";")[0] for one in broken[1:6])
        more = f" ({len(broken) - 1} more: {others})" if others else ""
        raise ValueError(f"{broken[0]}{more}")
    if not arrays:
        raise ValueError("there is no image to decode: a split needs at least one image")
    if animations:
        logging.warning("%d of %d images have several frames: the first is used", animations,
                        len(arrays))  # fmt: skip
    channels = max(array.shape[-1] for array in arrays)
    stacked = np.stack([np.broadcast_to(a, (*a.shape[:2], channels)) for a in arrays])
    return stacked, np.asarray(labels, np.int32)


def _tried(
    encoded: Encoded, resolution: int | None, resize: str
) -> tuple[np.ndarray, bool] | ValueError:
    """`_decode`, or why it cannot be done: all broken images are named at once."""
    try:
        return _decode(encoded, resolution, resize)
    except ValueError as error:
        return error


def _check_size(first: str, expected: np.ndarray, where: str, array: np.ndarray) -> None:
    if array.shape[:2] != expected.shape[:2]:
        (height, width), (other_height, other_width) = expected.shape[:2], array.shape[:2]
        raise ValueError(
            f"all images must have one size: {first} is {width}x{height}, "
            f"{where} is {other_width}x{other_height}: give --config.data.image_size=N for N x N "
            "(shorter side resized, centre cropped; --config.data.resize=stretch crops nothing)"
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
