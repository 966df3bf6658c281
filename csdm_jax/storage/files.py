"""Files that appear whole or not at all, and files that tell when they were damaged."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from absl import logging

from csdm_jax.storage import faults

SEAL = "sha256"
_DIGEST = 32  # bytes of a SHA-256


class DamagedError(ValueError):
    """A file does not hold what was written to it."""


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file by way of a temporary one beside it and a rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    faults.reach("file.before_write")
    try:
        with open(temporary, "wb") as file:
            file.write(data[: len(data) // 2])
            faults.reach("file.in_write")
            file.write(data[len(data) // 2 :])
            file.flush()
            os.fsync(file.fileno())
        faults.reach("file.before_rename")
        os.replace(temporary, path)
        faults.reach("file.after_rename")
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON (NaN and infinities are an error)."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_sealed_json(path: str | os.PathLike[str], value: dict[str, Any]) -> None:
    """Writes a dict as JSON together with the SHA-256 of its content, in the field `sha256`."""
    write_json(path, value | {SEAL: json_digest(value)})


def read_sealed_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `write_sealed_json` wrote, without the seal.

    Raises:
      FileNotFoundError: when there is no such file.
      DamagedError: when it is not what was written.
    """
    try:
        value = json.loads(Path(path).read_bytes())
        seal = value.pop(SEAL)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} is not a sealed JSON file: {error!r}") from error
    if seal != json_digest(value):
        raise DamagedError(f"{path} was changed after it was written (its SHA-256 disagrees)")
    return value


def json_digest(value: dict[str, Any]) -> str:
    """Hex SHA-256 of a dict's content as JSON, whatever the order of its fields."""
    # Through JSON once: what is read back has lists for tuples and strings for keys.
    text = json.dumps(json.loads(json.dumps(value)), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_sealed_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes bytes followed by their SHA-256."""
    write_bytes(path, data + hashlib.sha256(data).digest())


def read_sealed_bytes(path: str | os.PathLike[str]) -> bytes:
    """Reads what `write_sealed_bytes` wrote.

    Raises:
      FileNotFoundError: when there is no such file.
      DamagedError: when it is not what was written.
    """
    whole = Path(path).read_bytes()
    data, digest = whole[:-_DIGEST], whole[-_DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        raise DamagedError(f"{path} was changed after it was written (its SHA-256 disagrees)")
    return data


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path, reason: object) -> Path:
    """Moves a damaged file or folder out of the way, and says so in one line."""
    number = 0
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    os.replace(path, target)
    logging.warning("set aside as %s: %s", target, reason)
    return target
