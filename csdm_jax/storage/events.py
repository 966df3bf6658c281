"""The rows of a metrics file as TensorBoard events.

The metrics file stays the record: events are written anew from it when a run goes on, so that no
step is there twice. Numbers of each class are their mean, `mean/NAME`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"


def writer() -> Any:
    """The class that writes events.

    Raises:
      ModuleNotFoundError: says what to install.
    """
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "config.distill.tensorboard = True needs tensorboardX: pip install "
            "'csdm_jax[tensorboard]'"
        ) from None
    return SummaryWriter


class Events:
    """The events of one run.

    Args:
      folder: theirs alone.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: Any = None

    def begin(self, rows: Iterable[dict[str, Any]]) -> None:
        """Starts anew with the rows that are there."""
        self.close()
        for path in self._folder.glob("events.out.tfevents.*"):
            path.unlink()
        # A TensorBoard that looks on forgets what it has read of the files before.
        self._writer = writer()(str(self._folder), purge_step=0)
        self.append(rows)

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Adds rows."""
        for row in rows:
            for name, value in row.items():
                if isinstance(value, list):
                    name, value = f"mean/{name}", statistics.fmean(value)
                if name not in ("step", "mean/classes"):
                    self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        if self._writer:
            self._writer.close()
            self._writer = None
