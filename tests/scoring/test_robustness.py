"""DD-Ranking's scores and the interval: against their formulas in NumPy, and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from csdm_jax.evaluation import statistics
from csdm_jax.scoring import robustness


def formula(advantage):
    return (np.exp(advantage) - np.exp(-1)) / (np.exp(1) - np.exp(-1))


def accuracies(count, shape=(200,)):
    return np.random.default_rng(0).uniform(size=(count, *shape))


def test_the_label_robust_score_by_hand():
    # HLR = 0.9 - 0.5, IOR = 0.6 - 0.4, alpha = (0.2 - 0.4) / 2 = -0.1
    expected = (math.exp(-0.1) - math.exp(-1)) / (math.exp(1) - math.exp(-1))
    assert expected == pytest.approx(0.2284536, abs=1e-7)
    assert robustness.label_robust_score(0.9, 0.5, 0.6, 0.4) == pytest.approx(expected, abs=1e-12)


def test_the_augmentation_robust_score_by_hand():
    # 0.25 (0.6 - 0.4) + 0.75 (0.5 - 0.1) = 0.35
    expected = (math.exp(0.35) - math.exp(-1)) / (math.exp(1) - math.exp(-1))
    score = robustness.augmentation_robust_score(0.6, 0.4, 0.5, 0.1, weight=0.25)
    assert score == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_scores_agree_with_their_formulas(weight):
    full, hard, own, random = accuracies(4)
    alpha = weight * (own - random) - (1 - weight) * (full - hard)
    found = robustness.label_robust_score(full, hard, own, random, weight=weight)
    np.testing.assert_allclose(found, formula(alpha), rtol=1e-12)
    beta = weight * (full - hard) + (1 - weight) * (own - random)
    found = robustness.augmentation_robust_score(full, hard, own, random, weight=weight)
    np.testing.assert_allclose(found, formula(beta), rtol=1e-12)


def test_the_default_weighs_both_parts_alike():
    values = accuracies(4)
    for score in (robustness.label_robust_score, robustness.augmentation_robust_score):
        np.testing.assert_array_equal(score(*values), score(*values, weight=0.5))


def test_scores_map_minus_one_to_one_onto_zero_to_one():
    assert robustness.unit_score(-1) == 0 and robustness.unit_score(1) == pytest.approx(1)
    assert robustness.unit_score(0) == pytest.approx(0.2689414, abs=1e-7)
    advantage = np.linspace(-1, 1, 101)
    assert np.all(np.diff(robustness.unit_score(advantage)) > 0)
    assert robustness.label_robust_score(0, 1, 1, 0) == pytest.approx(1)
    assert robustness.label_robust_score(1, 0, 0, 1) == 0


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("value", [45.0, -0.1, math.nan])
def test_accuracies_in_percent_are_refused(position, value):
    values = [0.5] * 4
    values[position] = value
    for score in (robustness.label_robust_score, robustness.augmentation_robust_score):
        with pytest.raises(ValueError, match=r"fractions in \[0, 1\], got .*percent by 100"):
            score(*values)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_a_weight_outside_its_range_is_refused(weight):
    with pytest.raises(ValueError, match=r"weight must lie in \[0, 1\]"):
        robustness.label_robust_score(0.5, 0.5, 0.5, 0.5, weight=weight)


def test_the_interval_by_hand():
    # s = 1, t_2(0.975) = 4.302653 of the printed tables
    mean, half = statistics.interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_the_interval_agrees_with_scipy(confidence):
    values = accuracies(1, (7,))[0]
    mean, half = statistics.interval(values, confidence)
    low, high = stats.t.interval(confidence, 6, values.mean(), stats.sem(values))
    np.testing.assert_allclose([mean - half, mean + half], [low, high], rtol=1e-12)


def test_one_network_has_no_interval():
    assert statistics.interval([0.5]) == (0.5, None)


@pytest.mark.parametrize(
    ("values", "confidence", "message"),
    [
        ([], 0.95, "needs values"),
        ([[0.5]], 0.95, "needs values"),
        ([0.5, 0.6], 1.0, r"lie in \(0, 1\)"),
        ([0.5, 0.6], 95, r"lie in \(0, 1\)"),
    ],
)
def test_intervals_of_nothing_are_refused(values, confidence, message):
    with pytest.raises(ValueError, match=message):
        statistics.interval(values, confidence)
