"""A folder of PNG files, `train/<class>/*.png`, as torchvision's ImageFolder reads it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.data.images import Encoded, decode_all
from csdm_jax.sets.formats.base import Content, Format, check_size
from csdm_jax.storage import files


def write(folder: Path, content: Content) -> dict[str, Any]:
    """Writes one file per image; a class without images keeps its empty folder."""
    folders = folder_names(content.class_names or ())
    for name in folders:
        (folder / "train" / name).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(content.images, content.labels, strict=True)):
        target = folder / "train" / folders[label] / f"{number:06d}.png"
        files.write_bytes(target, encode(image))
    return {"class_folders": folders}


def folder_names(class_names: tuple[str, ...]) -> list[str]:
    """Folders in label order that also sort in label order.

    Readers number the classes by their sorted folders, so names that sort otherwise, or cannot be
    a folder's name, get their label in front.
    """
    names = [re.sub(r"[^\w\-. ]", "_", name) for name in class_names]
    plain = names == list(class_names) and not any(name.startswith(".") for name in names)
    if plain and names == sorted(set(names)):
        return names
    digits = len(str(len(names) - 1))
    return [f"{label:0{digits}d}_{name}" for label, name in enumerate(names)]


def encode(image: np.ndarray) -> bytes:
    """One uint8 `[H, W, ch]` image as PNG, grey for one channel."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def read(path: Path, card: dict[str, Any]) -> Content:
    """Reads all PNG files; labels follow the sorted class folders."""
    root = path / "train"
    folders = sorted(p for p in root.glob("[!.]*") if p.is_dir())
    images = [(p, label) for label, one in enumerate(folders) for p in sorted(one.glob("*.png"))]
    if not images:
        raise FileNotFoundError(f"{path} has no train/<class>/*.png: give the folder above train/")
    check_size(root, (len(images), *header_shape(images[0][0].read_bytes())))
    pixels, labels = decode_all(Encoded(str(p), p.read_bytes(), label) for p, label in images)
    names = tuple(one.name for one in folders)
    if card.get("class_folders") == list(names):  # the folders may have been renamed to sort
        names = tuple(card.get("class_names", names))
    return Content(pixels, labels, class_names=names)


def header_shape(data: bytes) -> tuple[int, ...]:
    """What an encoded image says of its size; `decode_all` reports one that is damaged."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            return (*image.size, 3)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return (0,)


FORMAT = Format(
    layout="NHWC",
    space="uint8",
    soft=None,
    write=write,
    read=read,
    files=("train/*/*.png",),
    notes=("pixels are quantised to uint8, up to 1/510 off; accuracies here were measured before",),
)
