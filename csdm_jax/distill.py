"""The distillation loop: runs any method, writes its metrics, shows progress."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
from absl import logging

from csdm_jax.methods.base import Method, State
from csdm_jax.progress import Progress
from csdm_jax.stepping import Stepper


class Loop:
    """The compiled loop of one method, for any number of distillation seeds.

    Args:
      method: what to run.
    """

    def __init__(self, method: Method):
        self.method = method
        self._stepper = Stepper(method.step)

    def run(self, key: jax.Array, *, log_every: int, metrics_file: Path, label: str) -> State:
        """Runs all steps.

        Args:
          key: decides initialisation and every step.
          log_every: steps per chunk; the host waits for the device once a chunk.
          metrics_file: JSON lines, one row a step, numbers and per-class lists.
          label: name in the progress line.

        Returns:
          The final state.

        Raises:
          FloatingPointError: when the loss or the gradient is no longer finite; names the step.
        """
        method = self.method
        state = method.init(key)
        progress = Progress(label, method.steps)
        metrics_file.parent.mkdir(parents=True, exist_ok=True)
        with metrics_file.open("w") as file:
            for first in range(0, method.steps, log_every):
                count = min(log_every, method.steps - first)
                state, metrics = self._stepper(state, method.constants, first, count)
                _check_finite(metrics, first, label)
                for row in _rows(metrics, first, count):
                    file.write(json.dumps(row) + "\n")
                file.flush()
                progress.reach(first + count, loss=float(np.mean(metrics["loss"])))
        progress.close()
        logging.info("%s: %d steps done", label, method.steps)
        return state


def _check_finite(metrics: dict[str, np.ndarray], first: int, label: str) -> None:
    for name in ("loss", "gradient_norm"):
        bad = np.flatnonzero(~np.isfinite(metrics[name]))
        if bad.size:
            raise FloatingPointError(
                f"{label}: {name} is {metrics[name][bad[0]]} at step {first + bad[0]}; lower "
                "distill.learning_rate or distill.loss_scale, and check the data for constant "
                "images"
            )


def _rows(metrics: dict[str, np.ndarray], first: int, count: int) -> list[dict]:
    """One JSON row a step; six digits are more than single precision promises."""
    return [
        {"step": first + i}
        | {name: _rounded(values[i]) for name, values in sorted(metrics.items())}
        for i in range(count)
    ]


def _rounded(value: np.ndarray) -> float | list[float]:
    if np.ndim(value):
        return [float(f"{v:.6g}") for v in value]
    return float(f"{value:.6g}")
