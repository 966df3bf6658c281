"""Our own file, as a run writes it: images as stored, mosaics included."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax import files
from csdm_jax.formats.base import Content, Format, check_size, find

NAME = "distilled.npz"
# RuntimeError: zipfile on an encrypted member.
UNREADABLE = (
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def write(folder: Path, content: Content) -> dict[str, Any]:
    """Writes `distilled.npz`."""
    integers = np.issubdtype(content.labels.dtype, np.integer)
    labels = content.labels.astype(np.int32) if integers else content.labels
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=content.images, labels=labels)
    files.write_bytes(folder / NAME, buffer.getvalue())
    return {}


def read(path: Path, card: dict[str, Any]) -> Content:
    """Reads the arrays `images` and `labels`; Python objects in the file are refused."""
    file = find(path, NAME)
    try:
        for name, shape in shapes(file).items():
            check_size(file / name, shape)
        with np.load(file, allow_pickle=False) as arrays:
            return Content(arrays["images"], arrays["labels"])
    except UNREADABLE as error:
        raise ValueError(
            f"cannot read {file}: {error}; it must be an .npz with the plain arrays 'images' and "
            "'labels'"
        ) from error


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The arrays' shapes from their headers: a few bytes may unpack to gigabytes."""
    found = {}
    with zipfile.ZipFile(file) as archive:
        for name in ("images.npy", "labels.npy"):
            with archive.open(name) as member:
                version = np.lib.format.read_magic(member)
                if version == (1, 0):
                    header = np.lib.format.read_array_header_1_0(member)
                else:
                    header = np.lib.format.read_array_header_2_0(member)
                found[name.removesuffix(".npy")] = header[0]
    return found


FORMAT = Format(
    layout="NHWC",
    space="unit",
    soft="probabilities",
    write=write,
    read=read,
    mosaics=True,
    ours=True,
)
