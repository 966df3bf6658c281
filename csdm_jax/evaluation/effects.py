"""Effects of an experiment with several factors: which choice moves the accuracy, and by how much.

    y = mean + block + sum_f effect_f(level) + sum_fg effect_fg(levels) + group + error

The effects of a factor add up to 0 over its levels, those of two factors over the levels of either,
so that a main effect is the distance of a level from the mean over all levels. `group` is a random
intercept of rows that share a distilled set: a point of the experiment with its seed, tested with
several kinds of labels. Such rows are no independent evidence of what the set was made by, but
their differences tell kinds of labels apart. Fitted by REML. Intervals are Student's: an effect
between groups has as many degrees of freedom as there are groups beyond all such effects, one
within groups as many as there are rows beyond the groups and the other effects. Where every point
is run once, the error holds what the interactions left out amount to.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from csdm_jax.runtime import extras


class Effect(NamedTuple):
    """What a level, or a combination of two, adds.

    Attributes:
      factors: one name, or two.
      levels: one of each.
      value: in the units of the response.
      low: end of the interval.
      high: likewise.
    """

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    value: float
    low: float
    high: float


Factors = Mapping[str, Sequence[str]]
"""Names of factors and of their levels, at least two each."""


def estimate(
    rows: Sequence[Mapping[str, Any]],
    factors: Factors,
    pairs: Iterable[tuple[str, str]] = (),
    *,
    response: str = "accuracy",
    group: str = "set",
    block: str = "seed",
    confidence: float = 0.95,
) -> list[Effect]:
    """Main effects, then the two-way interactions of some pairs of factors.

    Args:
      rows: measurements; of each the level of every factor, the response, the group and the block.
      factors: all whose main effects are in the model.
      pairs: factors whose interactions are in it, too.
      response: name of the number that is explained.
      group: name of what rows with a random intercept in common share.
      block: name of what has a mean of its own, such as the seed.
      confidence: of the intervals, in (0, 1).

    Returns:
      One effect for every level, and for every combination of levels of the pairs.

    Raises:
      ValueError: when the rows do not tell the effects apart, or the fit does not converge.
      MissingError: without statsmodels.
    """
    if not rows:
        raise ValueError("there are no rows to estimate effects of: finish some runs")
    blocks = sorted({row[block] for row in rows})
    terms = [(name,) for name in factors] + [tuple(pair) for pair in pairs]
    parts = [np.ones((len(rows), 1)), _columns(rows, block, blocks)]
    for term in terms:
        parts.append(_product([_columns(rows, name, factors[name]) for name in term]))
    design = np.concatenate(parts, axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            f"{len(rows)} rows do not tell {design.shape[1]} effects apart: finish the runs, or "
            "ask for fewer interactions"
        )
    values = np.array([row[response] for row in rows], np.float64)
    groups = [row[group] for row in rows]
    mean, covariance = _fit(values, design, groups)
    within = _within(design, groups)
    freedom = _freedom(within, groups)
    found, first = [], sum(part.shape[1] for part in parts[:2])
    for term, part in zip(terms, parts[2:], strict=True):
        own = slice(first, first + part.shape[1])
        first += part.shape[1]
        wide = float(stdtrit(freedom[bool(within[own].any())], (1 + confidence) / 2))
        codes = [_code(len(factors[name])) for name in term]
        for places in itertools.product(*(range(len(code)) for code in codes)):
            of_rows = [code[[at]] for code, at in zip(codes, places, strict=True)]
            weights = _product(of_rows)[0]
            value = float(weights @ mean[own])
            half = wide * float(np.sqrt(weights @ covariance[own, own] @ weights))
            levels = tuple(factors[name][at] for name, at in zip(term, places, strict=True))
            found.append(Effect(term, levels, value, value - half, value + half))
    return found


def _code(count: int) -> np.ndarray:
    """Weights of the parameters in the effect of each level, `[count, count - 1]`: sums of 0."""
    return np.concatenate([np.eye(count - 1), -np.ones((1, count - 1))])


def _columns(rows: Sequence[Mapping[str, Any]], name: str, levels: Sequence[Any]) -> np.ndarray:
    """Columns of a factor, `[n, levels - 1]`."""
    places = {level: at for at, level in enumerate(levels)}
    return _code(len(levels))[[places[row[name]] for row in rows]]


def _product(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Row by row, all products of one column each."""
    found = columns[0]
    for other in columns[1:]:
        found = (found[:, :, None] * other[:, None, :]).reshape(len(found), -1)
    return found


def _within(design: np.ndarray, groups: Sequence[Any]) -> np.ndarray:
    """Which columns of a design differ within a group."""
    _, places = np.unique(np.array(groups).astype(str), return_inverse=True)
    first = np.array([np.flatnonzero(places == at)[0] for at in range(places.max() + 1)])
    return (design != design[first[places]]).any(axis=0)


def _freedom(within: np.ndarray, groups: Sequence[Any]) -> tuple[int, int]:
    """Degrees of freedom of what differs between groups alone, and of what differs within them."""
    count = len({*map(str, groups)})
    freedom = count - int(np.sum(~within)), len(groups) - count - int(np.sum(within))
    if min(freedom if within.any() else freedom[:1]) < 1:
        raise ValueError(
            f"{len(groups)} rows of {count} sets leave no error to measure {len(within)} effects "
            "by: finish the runs, or ask for fewer interactions"
        )
    return freedom


def _fit(
    values: np.ndarray, design: np.ndarray, groups: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Fixed effects of the mixed model, and their covariance."""
    with extras.needed("experiments"):
        from statsmodels.regression.mixed_linear_model import MixedLM
        from statsmodels.tools.sm_exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Groups that differ by no more than the error have a variance of 0, the end of its range.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = MixedLM(values, design, groups=np.array(groups)).fit(reml=True)
    count = design.shape[1]
    covariance = np.asarray(fitted.cov_params())[:count, :count]
    if not (fitted.converged and np.isfinite(covariance).all()):
        raise ValueError("the mixed model did not converge: leave out interactions, or add seeds")
    return np.asarray(fitted.fe_params), covariance
