"""Statistics of accuracies: means by class, groups of classes, intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from csdm_jax.data.longtail import head_to_tail


def mean_by_class(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Mean over networks of each class's accuracy, float64 `[K]`; NaN without test images."""
    return np.mean([np.array(row, float) for row in rows], axis=0)


def listed(values: np.ndarray) -> list[float | None]:
    """Accuracies `[K]` for JSON, to a hundredth: NaN, a class without test images, as None."""
    return [None if np.isnan(value) else round(float(value), 2) for value in values]


def interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float | None]:
    """Student's confidence interval of a mean.

    Args:
      values: `[n]`, independent and about normal.
      confidence: in (0, 1).

    Returns:
      The mean, and half the interval's width, t_(n-1) s / sqrt(n) with the standard deviation s of
      the sample; None for a single value, which says nothing of its spread.

    Raises:
      ValueError: for no value, or a confidence outside (0, 1).
    """
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"an interval needs values [n], got shape {sample.shape}: give some")
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence must lie in (0, 1), got {confidence}: 0.95 is usual")
    mean = float(sample.mean())
    if len(sample) == 1:
        return mean, None
    quantile = float(stdtrit(len(sample) - 1, (1 + confidence) / 2))
    return mean, quantile * float(sample.std(ddof=1)) / math.sqrt(len(sample))


def p_value(values: ArrayLike) -> float | None:
    """Student's two-sided p of a mean of 0.

    Args:
      values: `[n]`, independent and about normal.

    Returns:
      In [0, 1]; None for a single value, or for equal ones, whose spread is not known.
    """
    sample = np.asarray(values, np.float64)
    spread = float(sample.std(ddof=1)) if len(sample) > 1 else 0.0
    if not spread:
        return None
    t = float(sample.mean()) / (spread / math.sqrt(len(sample)))
    return 2 * float(stdtr(len(sample) - 1, -abs(t)))


def possible(
    mean: float, half: float | None, low: float = 0.0, high: float = 100.0
) -> tuple[float, float] | None:
    """The ends of an interval, cut at what its value can be: Student's t knows no such bounds.

    Args:
      mean: in [low, high].
      half: half the width; None for none.
      low: the least possible value.
      high: the largest.
    """
    return None if half is None else (max(low, mean - half), min(high, mean + half))


def last_text(row: dict[str, Any]) -> str:
    """Mean ± standard deviation of the last epoch, from a row of a result table."""
    spread = "" if row["last_std"] is None else f" ± {row['last_std']:.1f}"
    return f"{row['last']:.1f}{spread}"


GROUPS = ("many", "medium", "few")
"""Thirds of the classes by training count."""


def group_accuracies(by_class: np.ndarray, counts: tuple[int, ...]) -> dict[str, float]:
    """Mean accuracy of the many-, medium- and few-shot classes.

    The classes in order of their training count, cut into a first third (rounded down), a last
    third (rounded down, at least one class) and what lies between.

    Args:
      by_class: `[K]` accuracies.
      counts: training images per class.
    """
    by_class = np.asarray(by_class)
    order = head_to_tail(counts)
    third = max(1, len(order) // 3)
    groups = dict(zip(GROUPS, (order[:third], order[third:-third], order[-third:]), strict=True))
    tested = {name: by_class[rows][~np.isnan(by_class[rows])] for name, rows in groups.items()}
    return {name: float(values.mean()) for name, values in tested.items() if values.size}
