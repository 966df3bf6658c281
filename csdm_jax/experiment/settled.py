"""The numbers that methods set for themselves, kept in the working directory.

On other hardware a rule might round otherwise, and a run that goes on there keeps its numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from csdm_jax.sets import distilled
from csdm_jax.storage import files

FOLDER = "settled"
"""Folder in the working directory: a file a method."""


class Kept:
    """The fields that the configuration leaves open to a method, as an earlier call has set them.

    Args:
      workdir: the working directory.
      method: its name.
      identity: makes what the fields depend on; asked by the process that reads and writes alone,
        since it reads all images.
      runs: folders of the method's runs; all seeds share the fields, and a finished run's card
        says them, too.
    """

    def __init__(
        self,
        workdir: Path,
        method: str,
        identity: Callable[[], dict[str, Any]],
        runs: Sequence[Path],
    ):
        self._path, self._method, self._runs = workdir / FOLDER / f"{method}.json", method, runs
        self._of = identity

    def _identity(self) -> str:
        return sha256(json.dumps(self._of(), sort_keys=True, default=str).encode()).hexdigest()

    def read(self) -> dict[str, Any] | None:
        """What was kept of the same method and configuration; None without it."""
        try:
            found = files.read_sealed_json(self._path)
        except FileNotFoundError:
            return self._said_by_a_card()
        except files.DamagedError as error:
            files.set_aside(self._path, error)
            return self._said_by_a_card()
        return found.get("fields") if found.get("identity") == self._identity() else None

    def write(self, fields: dict[str, Any]) -> None:
        """Keeps them."""
        files.write_sealed_json(self._path, {"identity": self._identity(), "fields": fields})

    def _said_by_a_card(self) -> dict[str, Any] | None:
        for run in self._runs:
            try:
                card = files.read_sealed_json(run / distilled.CARD)
            except (FileNotFoundError, files.DamagedError):
                continue
            if card.get("method") == self._method and card.get("settled"):
                return card["settled"]
        return None
