"""Soft labels against loops in plain float64."""

import math

import numpy as np
import pytest

from csdm_jax.evaluation import softening

COUNTS = (100, 20, 5)
OWN = np.repeat(np.arange(3), 4)


def logits(prior_share=0.0):
    """`[12, 3]`: every class is as sure of its own images, but for a share of the log prior."""
    noise = np.random.default_rng(0).normal(size=(4, 2))
    rows = np.zeros((12, 3))
    for image, label in enumerate(OWN):
        rows[image, label] = 2.0
        rows[image, (label + 1) % 3], rows[image, (label + 2) % 3] = noise[image % 4]
    return rows + prior_share * np.log(np.array(COUNTS) / sum(COUNTS))


def by_hand(rows, tau):
    """Probabilities, one number after the other."""
    found = []
    for row in rows:
        shifted = [f - tau * math.log(n / sum(COUNTS)) for f, n in zip(row, COUNTS, strict=True)]
        total = math.fsum(map(math.exp, shifted))
        found.append([math.exp(one) / total for one in shifted])
    return np.array(found)


def spread_by_hand(rows, tau):
    confidences = by_hand(rows, tau)
    means = [np.mean([confidences[i, c] for i in range(12) if OWN[i] == c]) for c in range(3)]
    return math.sqrt(sum((one - sum(means) / 3) ** 2 for one in means) / 3)


@pytest.mark.parametrize("tau", [0.0, 0.7, 3.0])
def test_probabilities_are_those_of_the_rule(tau):
    found = softening.corrected(logits(0.5), COUNTS, tau)
    np.testing.assert_allclose(found, by_hand(logits(0.5), tau), rtol=1e-12)
    assert softening.spread(logits(0.5), OWN, COUNTS, tau) == pytest.approx(
        spread_by_hand(logits(0.5), tau), rel=1e-9
    )


def test_a_tau_of_0_leaves_the_probabilities():
    powers = np.exp(logits(0.5))
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(softening.corrected(logits(0.5), COUNTS, 0.0), expected, rtol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 2.0])
def test_the_prior_in_a_teacher_is_found_and_taken_out(share):
    assert softening.chosen(logits(share), OWN, COUNTS) == pytest.approx(share)
    assert softening.spread(logits(share), OWN, COUNTS, share) == pytest.approx(0.0, abs=1e-12)


def test_tau_is_that_of_a_search_through_the_whole_grid():
    rows = np.random.default_rng(1).normal(size=(12, 3)) + np.log(np.array(COUNTS))
    spreads = {tau: spread_by_hand(rows, tau) for tau in softening.GRID}
    assert softening.chosen(rows, OWN, COUNTS) == min(spreads, key=spreads.get)


def test_classes_of_equal_size_need_no_correction():
    """Though the spreads differ by their rounding."""
    for seed in range(5):
        rows = np.random.default_rng(seed).normal(size=(12, 3))
        assert softening.chosen(rows, OWN, (7, 7, 7)) == 0.0


def test_a_class_without_images_counts_nowhere():
    some = OWN < 2
    found = softening.spread(logits(0.5)[some], OWN[some], COUNTS, 0.0)
    first, second = (by_hand(logits(0.5), 0.0)[c == OWN, c].mean() for c in (0, 1))
    assert found == pytest.approx(abs(first - second) / 2)


def test_huge_logits_stay_finite():
    found = softening.corrected(1e4 * logits(), COUNTS, 1.0)
    assert np.isfinite(found).all() and np.allclose(found.sum(1), 1)
