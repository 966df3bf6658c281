"""A folder of images, or a zip archive of one.

Layout: `train/<class>/*.png` and `test/<class>/*.png` (or .jpg, .jpeg), every class in both. Labels
follow the sorted class names.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from csdm_jax.data.cache import cached
from csdm_jax.data.dataset import Dataset, pixel_statistics
from csdm_jax.data.images import Encoded, decode_all, tracked
from csdm_jax.storage.npz import MAX_EXPANSION

SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "test")

# Path below the root -> what identifies its content (None for a directory).
Entries = dict[str, Any]
Read = Callable[[str], bytes]


def load(data_dir: Path | None, cache_dir: Path | None) -> Dataset:
    """Reads the images; mean and standard deviation are those of the training pixels.

    Args:
      data_dir: the folder or .zip file.
      cache_dir: as in `csdm_jax.data.cache.cached`.

    Raises:
      ValueError: for a missing folder, a class without images in a split, an unreadable image,
        images of different sizes, or an unsafe or damaged archive.
    """
    if data_dir is None or not data_dir.exists():
        raise ValueError(
            f"data set 'folder' needs data_dir, a folder or .zip with train/<class>/ and "
            f"test/<class>/; {data_dir} does not exist: give the path of one"
        )
    name = data_dir.stem
    with (_open_folder if data_dir.is_dir() else _open_zip)(data_dir) as (entries, read):
        classes = _classes(data_dir, entries)
        images = sorted(_images(entries))
        identity = [name, classes, [(path, entries[path]) for path in images]]
        return cached(name, identity, cache_dir, lambda: _build(data_dir, classes, images, read))


@contextlib.contextmanager
def _open_folder(root: Path) -> Iterator[tuple[Entries, Read]]:
    entries: Entries = {}
    for path in root.rglob("*"):
        stat = path.stat()
        stamp = None if path.is_dir() else (stat.st_size, stat.st_mtime_ns)
        entries[path.relative_to(root).as_posix()] = stamp
    yield entries, lambda path: (root / path).read_bytes()


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[tuple[Entries, Read]]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_safe(path, infos)
            # PurePosixPath drops what some programs put first: "./train/..." for "train/...".
            named = {str(PurePosixPath(i.filename)): i for i in infos}
            entries = {
                name: None if i.is_dir() else (i.CRC, i.file_size) for name, i in named.items()
            }
            yield entries, lambda name: archive.read(named[name])
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"cannot read {path}: {error}; give a folder or an undamaged, unencrypted .zip"
        ) from error


def _check_safe(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    for info in infos:
        member = PurePosixPath(info.filename.replace("\\", "/"))
        if (
            member.is_absolute()
            or ".." in member.parts
            or any(":" in part for part in member.parts)
        ):
            raise ValueError(
                f"{path} has the member {info.filename!r}: paths must be relative and without "
                "'..'; zip the folder again from inside it"
            )
    unpacked, packed = sum(info.file_size for info in infos), path.stat().st_size
    if unpacked > MAX_EXPANSION * packed:
        raise ValueError(
            f"{path} would unpack from {packed} to {unpacked} bytes, more than {MAX_EXPANSION} "
            "times: this looks like a decompression bomb; give the unpacked folder instead"
        )


def _images(entries: Entries) -> list[str]:
    def is_image(path: PurePosixPath) -> bool:
        return (
            len(path.parts) == 3
            and path.parts[0] in SPLITS
            and path.suffix.lower() in SUFFIXES
            and not path.name.startswith(".")
        )

    return [p for p, stamp in entries.items() if stamp and is_image(PurePosixPath(p))]


def _classes(root: Path, entries: Entries) -> list[str]:
    """The sorted class names: every folder below train/ or test/, each filled in both."""
    filled = {tuple(image.split("/")[:2]) for image in _images(entries)}
    folders = {tuple(p.split("/")) for p, stamp in entries.items() if stamp is None}
    named = {f for f in folders if len(f) == 2 and not f[1].startswith(".")} | filled
    classes = sorted({f[1] for f in named if f[0] in SPLITS})
    if not classes:
        raise ValueError(
            f"{root} has no class folder train/<class>/ with images: "
            "put train/ and test/ directly below it"
        )
    for split in SPLITS:
        if missing := [c for c in classes if (split, c) not in filled]:
            raise ValueError(
                f"{root} has no image in {split}/ of class(es) {missing}: every class needs at "
                f"least one {', '.join(SUFFIXES)} file in train/ and in test/; add some or remove "
                "the class from both"
            )
    return classes


def _build(root: Path, classes: list[str], images: list[str], read: Read) -> Dataset:
    def encoded() -> Iterator[Encoded]:
        for path in tracked(images, f"reading {root.name}", len(images)):
            yield Encoded(str(root / path), read(path), classes.index(path.split("/")[1]))

    pixels, labels = decode_all(encoded())
    train = np.array([path.startswith("train/") for path in images])
    mean, std = pixel_statistics(pixels[train])
    return Dataset(
        root.stem,
        pixels[train],
        labels[train],
        pixels[~train],
        labels[~train],
        tuple(classes),
        mean,
        std,
    )
