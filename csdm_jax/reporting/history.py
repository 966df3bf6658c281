"""What the metrics file of a run says, reduced to what a figure can show."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

BINS = 60
CLASSES = "classes"
"""The list in a row that says which classes the step drew; all, where there is none. Every other
list has one number for each of them."""


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class History:
    """The metrics of a run.

    Attributes:
      steps: number of rows.
      scalars: for each metric of one number a step, `[steps]`.
      by_class: for each metric of one number a class, `[bins, C]`: the mean over a bin of
        consecutive steps, NaN where none of them drew the class.
    """

    steps: int
    scalars: dict[str, np.ndarray]
    by_class: dict[str, np.ndarray]

    def smoothed(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps done and a scalar's running mean over a fiftieth of the run, `[steps - w + 1]`."""
        window = max(1, self.steps // 50)
        values = np.convolve(self.scalars[name], np.ones(window) / window, "valid")
        return np.arange(len(values)) + window, values


def read(path: Path, num_classes: int) -> History:
    """Reads a metrics file row by row: with hundreds of classes it is large.

    Args:
      path: `metrics.jsonl`; one that is absent counts as empty.
      num_classes: number of classes C.
    """
    if not path.exists():
        return History(0, {}, {})
    with path.open("rb") as file:
        steps = sum(1 for _ in file)
    bins = min(BINS, steps)
    scalars: dict[str, list[float]] = {}
    sums: dict[str, np.ndarray] = {}
    seen: dict[str, np.ndarray] = {}
    with path.open() as file:
        for number, line in enumerate(file):
            row = json.loads(line)
            _add_scalars(scalars, row)
            drawn = row.pop(CLASSES, slice(None))
            for name, values in row.items():
                if isinstance(values, list):
                    place = number * bins // steps, drawn
                    sums.setdefault(name, np.zeros((bins, num_classes)))[place] += values
                    seen.setdefault(name, np.zeros((bins, num_classes), int))[place] += 1
    with np.errstate(invalid="ignore"):
        by_class = {name: total / seen[name] for name, total in sums.items()}
    return History(steps, {n: np.array(v) for n, v in scalars.items()}, by_class)


def _add_scalars(scalars: dict[str, list[float]], row: dict[str, Any]) -> None:
    for name, value in row.items():
        if isinstance(value, int | float):
            scalars.setdefault(name, []).append(value)
        elif name != CLASSES:  # the mean over the classes of the step
            scalars.setdefault(f"mean {name}", []).append(float(np.mean(value)))
