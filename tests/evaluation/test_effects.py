"""Effects of a factorial experiment against the analysis of variance of its two strata."""

import itertools

import numpy as np
import pytest
from scipy import stats

from csdm_jax.evaluation import effects

pytest.importorskip("statsmodels", reason="the mixed model is that of statsmodels")

FACTORS = {"start": ("random", "kmeans", "noise"), "steps": ("few", "many"),
           "labels": ("hard", "soft")}  # fmt: skip
START, STEPS, LABELS = (2.0, 0.0, -2.0), (-1.0, 1.0), (-3.0, 3.0)
BOTH = np.array([[0.5, -0.5], [-0.5, 0.5], [0.0, 0.0]])  # of start and steps


def table(seeds=4, noise=1.0):
    """Balanced rows with known effects; each set is tested with both kinds of labels."""
    generator = np.random.default_rng(0)
    rows = []
    for seed, a, b in itertools.product(range(seeds), range(3), range(2)):
        own = 50 + seed + START[a] + STEPS[b] + BOTH[a, b] + noise * generator.normal(0, 1)
        for c in range(2):
            value = own + LABELS[c] + noise * generator.normal(0, 0.3)
            levels = {name: FACTORS[name][at] for name, at in zip(FACTORS, (a, b, c), strict=True)}
            rows.append(levels | {"seed": seed, "set": f"{seed}{a}{b}", "accuracy": value})
    return rows


def found(rows, pairs=(("start", "steps"),)):
    return {one.levels: one for one in effects.estimate(rows, FACTORS, pairs)}


def test_effects_are_those_of_cell_means_with_the_errors_of_their_stratum():
    rows = table()
    own = found(rows)
    y = np.array([row["accuracy"] for row in rows]).reshape(
        4, 3, 2, 2
    )  # seed, start, steps, labels
    sets, gaps = y.mean(-1), np.diff(y, axis=-1)[..., 0]
    mean = y.mean()
    start, steps = sets.mean((0, 2)) - mean, sets.mean((0, 1)) - mean
    both = sets.mean(0) - mean - start[:, None] - steps
    off = sets - sets.mean(0) - sets.mean((1, 2), keepdims=True) + mean
    between = np.sum(off**2) / (24 - 4 - 5)  # of the mean over both kinds of labels
    within = np.sum((gaps - gaps.mean()) ** 2) / (24 - 1)
    expected = {}
    for a, level in enumerate(FACTORS["start"]):
        expected[(level,)] = start[a], between * 2 / 24, 15  # a level's mean less that of all
        for b, other in enumerate(FACTORS["steps"]):
            expected[level, other] = both[a, b], between * 2 / 24, 15
    for b, level in enumerate(FACTORS["steps"]):
        expected[(level,)] = steps[b], between / 24, 15
    for sign, level in zip((-1, 1), FACTORS["labels"], strict=True):
        expected[(level,)] = sign * gaps.mean() / 2, within / 24 / 4, 23
    assert own.keys() == expected.keys()
    for levels, (value, variance, freedom) in expected.items():
        one, wide = own[levels], stats.t.ppf(0.975, freedom)
        np.testing.assert_allclose(one.value, value, atol=1e-6)
        np.testing.assert_allclose(one.high - one.low, 2 * wide * variance**0.5, rtol=2e-3)
    assert own["soft",].high - own["soft",].low < 0.3 * (own["few",].high - own["few",].low)


def test_known_effects_lie_in_their_intervals_and_those_of_a_factor_add_up_to_0():
    own = found(table(seeds=8, noise=0.5))
    known = dict(zip(itertools.product(*list(FACTORS.values())[:2]), BOTH.ravel(), strict=True))
    for name, values in zip(FACTORS, (START, STEPS, LABELS), strict=True):
        known |= {(level,): value for level, value in zip(FACTORS[name], values, strict=True)}
        assert abs(sum(own[level,].value for level in FACTORS[name])) < 1e-9
    inside = [own[levels].low <= value <= own[levels].high for levels, value in known.items()]
    assert sum(inside) >= len(inside) - 1


def test_rows_that_do_not_tell_effects_apart_are_refused():
    rows = [row for row in table() if row["start"] != "noise"]
    with pytest.raises(ValueError, match=r"32 rows do not tell 10 effects apart: finish the runs"):
        found(rows)
    with pytest.raises(
        ValueError, match="12 rows of 6 sets leave no error to measure 7 effects by"
    ):
        found(table(seeds=1))
    with pytest.raises(ValueError, match="there are no rows to estimate effects of"):
        found([])
