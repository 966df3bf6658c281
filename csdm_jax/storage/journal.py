"""A file of lines that only grows, in which a checkpoint can name a place to go on from.

A place is a length and the SHA-256 of all before it. The hash is carried along, so that naming a
place costs the same late in a run as early. The lines are written twice: into the file for readers,
and into a copy, from which what was lost or changed in the file comes back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csdm_jax.storage import files

METRICS = "metrics.jsonl"
"""Name of a run's journal, a JSON row for each step."""


class Journal:
    """Appends lines to a file.

    Args:
      path: the file.
      copy: its second copy.
    """

    def __init__(self, path: Path, copy: Path):
        self._paths = (path, copy)
        self._length, self._digest = 0, hashlib.sha256()

    def begin(self) -> None:
        """Starts with no lines."""
        self._go_on_from(b"")

    def append(self, text: str) -> None:
        """Adds lines at the end."""
        data = text.encode()
        for path in self._paths:
            with path.open("ab") as file:
                file.write(data)
        self._length += len(data)
        self._digest.update(data)

    def lines(self) -> Iterator[str]:
        """All lines."""
        with self._paths[0].open() as file:
            yield from file

    def mark(self) -> dict[str, Any]:
        """The place after the last line, as JSON holds it; the disk has all before it."""
        for path in self._paths:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        return {"bytes": self._length, "sha256": self._digest.hexdigest()}

    def rewind(self, mark: dict[str, Any]) -> None:
        """Cuts off what was written after a mark.

        Raises:
          DamagedError: when neither the file nor its copy holds what was before it.
        """
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                before = file.read(mark["bytes"])
                if hashlib.sha256(before).hexdigest() == mark["sha256"]:
                    return self._go_on_from(before)
        raise files.DamagedError(
            f"{self._paths[0]} and its copy do not hold the {mark['bytes']} bytes that were there"
        )

    def _go_on_from(self, before: bytes) -> None:
        for path in self._paths:
            files.write_bytes(path, before)
        self._length, self._digest = len(before), hashlib.sha256(before)
