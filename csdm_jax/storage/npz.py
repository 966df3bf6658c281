"""Reading NumPy archives that someone hands us: no code is run, no bomb unpacked."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

MAX_EXPANSION = 100  # noise and photographs hardly compress
SMALL = 64 * 2**20  # bytes that may be unpacked whatever they were packed from
SHARE = 0.5
"""Share of the memory that drawings, which compress better, may be unpacked to."""


def read_npz(
    path: str | os.PathLike[str], names: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Reads arrays of an .npz file, after a look at what they claim to be.

    Args:
      path: the file.
      names: arrays to read; others are left alone.
      optional: likewise, but they may be missing.

    Raises:
      ValueError: for a damaged file, a missing array, Python objects, or a decompression bomb.
    """
    path, names = Path(path), list(names)
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not an .npz archive")
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
            check_expansion(unpacked, path.stat().st_size)
            present = {n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")}
            if missing := [name for name in names if name not in present]:
                raise ValueError(f"arrays {missing} are missing, it holds {sorted(present)}")
            names = [*names, *(name for name in optional if name in present)]
            for name in names:
                _check_header(archive, f"{name}.npy")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (
        ValueError,
        OSError,
        EOFError,
        RuntimeError,  # an encrypted member
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"cannot read {path}: {error}; store plain arrays {', '.join(names)} (no Python "
            "objects) with np.savez"
        ) from error


def check_expansion(unpacked: int, packed: int) -> None:
    """Raises a ValueError where unpacking would fill the memory from next to nothing."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if unpacked > max(SMALL, MAX_EXPANSION * packed, SHARE * memory):
        raise ValueError(
            f"it would unpack from {packed} to {unpacked} bytes, more than {MAX_EXPANSION} times "
            f"and more than {SHARE:.0%} of the memory: this looks like a decompression bomb"
        )


def _check_header(archive: zipfile.ZipFile, member: str) -> None:
    """Compares what an array claims to be with the bytes that are there."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member} has the array format {version}, known are 1.0 and 2.0")
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, _, dtype = read(file)
        length = archive.getinfo(member).file_size - file.tell()
    if dtype.hasobject:
        raise ValueError(f"{member} holds Python objects, which could run code")
    if math.prod(shape) * dtype.itemsize != length:
        raise ValueError(f"{member} claims {shape} of {dtype}, but holds {length} bytes")
