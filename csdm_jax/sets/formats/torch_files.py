"""`.pt` files of tensors: written plainly, and read without running anything in them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.sets.formats.base import MAX_VALUES, check_size

SAFE_TORCH = (2, 6)


def import_torch() -> Any:
    """The module, or an ImportError that says how to do without."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "this format's .pt files need PyTorch, which is not installed: pip install "
            '"csdm_jax[torch]", or choose npz, safetensors, png or tfds'
        ) from error
    return torch


def save(path: Path, value: Any) -> None:
    """Writes arrays, or lists and dicts of them, as tensors."""
    import_torch().save(_tensors(value), path)


def _tensors(value: Any) -> Any:
    if isinstance(value, list):
        return [_tensors(one) for one in value]
    if isinstance(value, dict):
        return {key: _tensors(one) for key, one in value.items()}
    return import_torch().from_numpy(value)


class Dropped:
    """Stands for an object in a file that is passed over; it ignores what it is made of."""

    def __init__(self, *values: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def load(path: Path, *, dropped: Sequence[str] = ()) -> Any:
    """What is in the file, if that is tensors, numbers, text and plain containers of them.

    Args:
      path: a file of `torch.save`.
      dropped: full names of classes and functions in it that give a `Dropped` instead.

    Raises:
      ImportError: without PyTorch.
      ValueError: for any other Python object (nothing of it is run), or a damaged or absurd file.
    """
    torch = import_torch()
    _check_version(torch.__version__)
    _check_archive(path)
    stand_ins = [(Dropped, name) for name in dropped]
    try:
        with torch.serialization.safe_globals(stand_ins) if dropped else nullcontext():
            return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a hostile pickle can fail in any way at all
        # Torch goes on to say how to load it all the same, which is no remedy here.
        reason = str(error).partition("WeightsUnpickler error:")[2] or f"{error!r}"
        reason = reason.strip().splitlines()[0].split(". ")[0]
        raise ValueError(
            f"{path} is refused: {reason}. It may "
            " hold tensors, numbers and lists or dicts of them only, because unpickling an "
            "object runs code of the file's maker: ask for a file of plain tensors"
        ) from error


def _check_version(version: str) -> None:
    """Refuses the releases whose `weights_only=True` ran code all the same (CVE-2025-32434)."""
    if tuple(int(part) for part in version.split(".")[:2]) < SAFE_TORCH:
        raise ImportError(
            f"reading .pt files needs PyTorch {'.'.join(map(str, SAFE_TORCH))} or newer, got "
            f"{version}, in which a file can run code: pip install --upgrade torch"
        )


def _check_archive(path: Path) -> None:
    """Refuses what is no archive of `torch.save`, or would unpack to more than fits."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, RuntimeError, ValueError, struct.error) as error:
        raise ValueError(
            f"{path} is not a whole file of torch.save (torch 1.6 or newer): {error}; save its "
            "tensors again where you trust it"
        ) from error
    if unpacked > 8 * MAX_VALUES:
        raise ValueError(
            f"{path} would unpack to {unpacked} bytes: a set may have {MAX_VALUES} values; split it"
        )


def as_array(where: Path, name: str, value: Any) -> np.ndarray:
    """A dense tensor as an array: float32 for floats, integers as they are."""
    if not isinstance(value, import_torch().Tensor):
        raise ValueError(
            f"{where} must hold its {name} as a tensor, got {type(value).__name__}: "
            "save the tensor itself"
        )
    try:
        # A stored view may repeat a few numbers without end; a copy would be as large as it says.
        check_size(where, tuple(value.shape))
        return (value.float() if value.is_floating_point() else value).numpy(force=True)
    except (RuntimeError, TypeError) as error:  # sparse, quantised, without values, ...
        raise ValueError(
            f"{where} must hold its {name} as a plain dense tensor: {str(error).splitlines()[0]}; "
            "convert it before saving"
        ) from error


def as_number(where: Path, value: Any) -> float:
    """A learning rate: a number, or a tensor with one element."""
    if isinstance(value, (int, float)):
        return float(value)
    array = as_array(where, "learning rate", value)
    if array.size != 1:
        raise ValueError(
            f"{where} must hold one learning rate, got shape {array.shape}: a set has one"
        )
    return float(array.reshape(()))


def as_pair(where: Path, value: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels from the list `[images, labels]`."""
    if not (isinstance(value, (list, tuple)) and len(value) == 2):
        raise ValueError(
            f"{where} must hold the list [images, labels], got {type(value).__name__}: "
            "is this the format of the file?"
        )
    return as_array(where, "images", value[0]), as_array(where, "labels", value[1])
