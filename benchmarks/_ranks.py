"""Rank correlations with bootstrap intervals."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

Interval = tuple[float, float, float]
"""A value, and the ends of its 95 % interval."""


def spearman(values: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Spearman's correlations, float64 [G, D, B].

    Args:
        values: [D, S], D quantities of S subsets.
        targets: [G, S], what they are to predict.
        rows: int [B, k], in each of B cases the subsets that count, some perhaps repeatedly.

    Returns:
        In [-1, 1]; 0 where one side is constant.
    """
    others = [_standard(rankdata(target[rows], axis=-1)) for target in targets]
    found = []
    for value in values:
        ranks = _standard(rankdata(value[rows], axis=-1))
        found.append([np.sum(ranks * other, axis=-1) for other in others])
    return np.stack(found, axis=1)


def _standard(ranks: np.ndarray) -> np.ndarray:
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    return centred / np.where(norm > 0, norm, 1.0)


def resamples(count: int, times: int, seed: int = 0) -> np.ndarray:
    """Rows of bootstrap samples, int [times, count]."""
    return np.random.default_rng(seed).integers(0, count, (times, count))


def intervals(point: np.ndarray, drawn: np.ndarray) -> list[Interval]:
    """Values [D] with the percentile interval of their bootstrap draws [D, B]."""
    low, high = np.quantile(drawn, (0.025, 0.975), axis=-1)
    return [(float(p), float(a), float(b)) for p, a, b in zip(point, low, high, strict=True)]
