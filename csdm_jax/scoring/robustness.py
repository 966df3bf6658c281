"""DD-Ranking's scores of a distilled set, which labels and augmentation cannot lift by themselves.

Symbols; every accuracy is a fraction in [0, 1] of test images:

- `full`: acc(real, hard), of networks trained on the whole real training set;
- `hard`: acc(syn, hard), of networks trained on the set with hard labels;
- `own`: acc(syn, any), of networks trained on the set with its own labels, hard or soft;
- `random`: acc(rdm, any), of networks trained on as many random real images, labelled in the same
  way;
- HLR = full - hard, hard label recovery: how far the images alone are from the real ones;
- IOR = own - random, improvement over random selection;
- w in [0, 1] weighs IOR against -HLR; gamma in [0, 1] weighs the improvement over random selection
  with augmentation against that without. Both are 1/2, as on DD-Ranking's leaderboard.

Source: DD-Ranking (Li et al., 2025, arXiv 2505.13300). Its formula wants fractions; its release
0.2.0 puts percent into it, so that its numbers are not comparable.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def label_robust_score(
    full: ArrayLike, hard: ArrayLike, own: ArrayLike, random: ArrayLike, *, weight: float = 0.5
) -> np.ndarray:
    """LRS = u(w IOR - (1 - w) HLR), with `unit_score` u.

    Args:
      full: acc(real, hard), any shape.
      hard: acc(syn, hard), the same shape.
      own: acc(syn, any), likewise.
      random: acc(rdm, any), likewise.
      weight: the weight w, in [0, 1].

    Returns:
      float64 in [0, 1], of the accuracies' shape. Higher is better.

    Raises:
      ValueError: for an accuracy or weight outside [0, 1].
    """
    recovery = difference(full, hard)
    improvement = difference(own, random)
    return unit_score(_mixed(improvement, -recovery, weight))


def augmentation_robust_score(
    own: ArrayLike,
    random: ArrayLike,
    own_plain: ArrayLike,
    random_plain: ArrayLike,
    *,
    weight: float = 0.5,
) -> np.ndarray:
    """ARS = u(gamma (own - random) + (1 - gamma) (own_plain - random_plain)), with `unit_score` u.

    Args:
      own: acc(syn, any) with the augmentation of the evaluation, any shape.
      random: acc(rdm, any) with the same, the same shape.
      own_plain: acc(syn, any) without augmentation, likewise.
      random_plain: acc(rdm, any) without augmentation, likewise.
      weight: gamma.

    Returns:
      float64 in [0, 1], of the accuracies' shape. Higher is better.

    Raises:
      ValueError: for an accuracy or weight outside [0, 1].
    """
    augmented = difference(own, random)
    plain = difference(own_plain, random_plain)
    return unit_score(_mixed(augmented, plain, weight))


def difference(one: ArrayLike, other: ArrayLike) -> np.ndarray:
    """one - other of two accuracies, float64 in [-1, 1].

    Raises:
      ValueError: for an accuracy outside [0, 1].
    """
    return _fractions(one) - _fractions(other)


def unit_score(advantage: ArrayLike) -> np.ndarray:
    """u(a) = (e^a - e^-1) / (e - e^-1): increasing, from u(-1) = 0 to u(1) = 1."""
    return np.expm1(np.asarray(advantage, np.float64) + 1) / math.expm1(2)


def _mixed(one: np.ndarray, other: np.ndarray, weight: float) -> np.ndarray:
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight must lie in [0, 1], got {weight}: 0.5 is DD-Ranking's")
    return weight * one + (1 - weight) * other


def _fractions(accuracies: ArrayLike) -> np.ndarray:
    values = np.asarray(accuracies, np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(
            f"accuracies must be fractions in [0, 1], got {values.min():.4g}..{values.max():.4g}: "
            "divide percent by 100"
        )
    return values
