"""Soft labels from the logits of a teacher, corrected for the prior of the classes if asked for.

Source of the correction: ADSA (arXiv 2511.17914): p(y | x; tau) is proportional to
exp(f_y(x) - tau log pi_y), with pi the frequencies of the classes in the training set. tau is that
of a grid for which the mean confidence in the own class, on the distilled images, differs least
from class to class. No test image is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

CORRECTIONS = ("none", "adsa")
GRID = np.linspace(0.0, 3.0, 61)
"""Values of tau that are tried. The source does not say which; the best one may be the last."""
TIE = 1e-9  # below this, spreads differ by rounding


def corrected(logits: np.ndarray, counts: Sequence[int], tau: float) -> np.ndarray:
    """Class probabilities of logits, corrected for the prior.

    Args:
      logits: `[n, K]`; softened ones are divided by the temperature before.
      counts: training images of each class, at least 1.
      tau: 0 leaves the probabilities as they are.

    Returns:
      float64 `[n, K]`.
    """
    return np.exp(_log_corrected(logits, counts, tau))


def spread(logits: np.ndarray, own: np.ndarray, counts: Sequence[int], tau: float) -> float:
    """How unequal classes are: standard deviation of the mean confidence in the own class.

    Args:
      logits, counts, tau: see `corrected`.
      own: int `[n]`, the class that each image is of. Classes without images count nowhere.
    """
    confidences = np.exp(_log_corrected(logits, counts, tau)[np.arange(len(own)), own])
    return float(np.std([confidences[own == label].mean() for label in np.unique(own)]))


def chosen(logits: np.ndarray, own: np.ndarray, counts: Sequence[int]) -> float:
    """tau of `GRID` with the smallest `spread`, of equals the smallest tau. Arguments as there."""
    spreads = np.array([spread(logits, own, counts, tau) for tau in GRID])
    return float(GRID[np.flatnonzero(spreads <= spreads.min() + TIE)[0]])


def _log_corrected(logits: np.ndarray, counts: Sequence[int], tau: float) -> np.ndarray:
    sizes = np.asarray(counts, np.float64)
    return log_softmax(np.asarray(logits, np.float64) - tau * np.log(sizes / sizes.sum()), axis=1)
