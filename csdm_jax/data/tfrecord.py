"""TFRecord files without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from csdm_jax.runtime import extras


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file, each checked against its two checksums.

    A record is a little-endian uint64 length, the masked CRC-32C of those 8 bytes, the payload and
    the masked CRC-32C of the payload.

    Args:
      path: an uncompressed TFRecord file.

    Yields:
      The payloads in file order.

    Raises:
      ValueError: for a truncated file or a checksum that does not match.

    Source: TensorFlow's documentation of the TFRecord format.
    """
    with open(path, "rb") as file:
        number = 0
        while header := file.read(12):
            length_bytes, length_crc = header[:8], header[8:]
            _check_crc(path, number, length_bytes, length_crc)
            (length,) = struct.unpack("<Q", length_bytes)
            body = file.read(length + 4)
            _check_crc(path, number, body[:length], body[length:])
            yield body[:length]
            number += 1


def masked_crc(data: bytes) -> bytes:
    """The CRC-32C of `data` as TFRecord stores it: rotated right by 15 bits, plus a constant."""
    with extras.needed("tfds"):
        import google_crc32c

    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _check_crc(path: Path, number: int, data: bytes, crc: bytes) -> None:
    if masked_crc(data) != crc:
        raise ValueError(
            f"record {number} of {path} is truncated or damaged (checksum mismatch): "
            "copy or prepare the data set again"
        )
