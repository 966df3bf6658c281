"""Progress of long work: a bar on a terminal, log lines with an ETA elsewhere."""

from __future__ import annotations

import sys
import time

from absl import logging
from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts the units of a stage.

    Args:
      label: name of the stage.
      total: units in all.
      done: units that an earlier process completed.
    """

    def __init__(self, label: str, total: int, *, done: int = 0):
        self.done = self._initial = done
        self._start = self._last_line = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )
        self._label = label
        self._total = total

    def reach(self, done: int, **numbers: float) -> None:
        """Says that `done` units are complete; `numbers` are shown beside them."""
        self._bar.update(done - self.done)
        self.done = done
        text = " ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        self._bar.set_postfix_str(text)
        now = time.monotonic()
        if self._bar.disable and (
            now - self._last_line > SECONDS_BETWEEN_LINES or done == self._total
        ):
            self._last_line = now
            meter = tqdm.format_meter(
                done,
                self._total,
                now - self._start,
                initial=self._initial,
                prefix=self._label,
                ncols=0,
            )
            logging.info("%s %s", meter, text)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
