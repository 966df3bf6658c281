"""Counts and choice of the images of long-tailed subsets."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from csdm_jax.data.dataset import Dataset
from csdm_jax.data.longtail import (
    build_longtail,
    check_ipc,
    class_counts,
    largest_profile,
    tuning_split,
)

# Published lists of CIFAR-10-LT (LTDD's index rule truncates).
CIFAR10_LT = {
    10: (5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500),
    50: (5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100),
    100: (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50),
    200: (5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25),
}


@pytest.mark.parametrize(
    ("factor", "total"), [(10, 20431), (50, 13996), (100, 12406), (200, 11203)]
)
def test_cifar10_counts_are_the_published_ones(factor, total):
    counts = class_counts(5000, factor, 10)
    assert counts == CIFAR10_LT[factor]
    assert sum(counts) == total


@pytest.mark.parametrize(("factor", "total", "last"), [(10, 19573, 50), (20, 15907, 25)])
def test_cifar100_totals_are_the_published_ones(factor, total, last):
    counts = class_counts(500, factor, 100)
    assert (sum(counts), counts[0], counts[-1]) == (total, 500, last)


@pytest.mark.parametrize("factor", [3, 7, 29, 49, 98, 103])
def test_last_class_is_not_truncated_by_rounding(factor):
    assert class_counts(17 * factor, factor, 2) == (17 * factor, 17)


def test_factor_one_keeps_classes_equal():
    assert class_counts(12, 1.0, 4) == (12, 12, 12, 12)


@pytest.mark.parametrize("factor", [0.5, -1.0, float("nan"), float("inf")])
def test_factor_below_one_or_not_finite_is_refused(factor):
    with pytest.raises(ValueError, match=r"finite number >= 1, got"):
        class_counts(100, factor, 10)


def test_factor_that_empties_a_class_names_the_largest_allowed():
    with pytest.raises(ValueError, match=r"use at most 20"):
        class_counts(20, 21, 10)
    assert class_counts(20, 20, 10)[-1] == 1


def test_profile_needs_two_classes():
    with pytest.raises(ValueError, match=r"at least 2 classes, got 1"):
        class_counts(20, 1, 1)


@pytest.mark.parametrize("factor", [1, 2, 10, 200])
def test_largest_profile_is_feasible_and_cannot_grow(factor):
    available = [963, 955, 993, 858, 941, 956, 961, 931, 951, 960]
    counts = largest_profile(available, factor, 10)
    assert all(1 <= kept <= n for kept, n in zip(counts, available, strict=True))
    larger = class_counts(counts[0] + 1, factor, 10)
    assert any(kept > n for kept, n in zip(larger, available, strict=True))


def test_largest_profile_is_bounded_by_a_small_middle_class():
    assert largest_profile([100, 10, 100], 4, 3) == (21, 10, 5)


def test_ltdd_rule_reproduces_the_published_positions():
    for size, first in ((5000, [1501, 2586, 2653, 1055, 705]), (500, [361, 73, 374, 155, 104])):
        labels = np.tile([0, 1], size)  # class c sits at rows 2 i + c
        tail = build_longtail(labels, 2, imbalance_factor=10, rule="ltdd", seed=7)
        assert tail.seed == 42
        assert (tail.indices[:5] // 2).tolist() == first
        assert (tail.indices[size : size + 5] // 2).tolist() == first


@pytest.mark.parametrize("rule", ["seeded", "ltdd"])
def test_subset_is_class_major_distinct_and_of_the_right_class(rule):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 80))
    tail = build_longtail(labels, 5, imbalance_factor=8, rule=rule, seed=3)
    assert tail.counts == class_counts(80, 8, 5)
    assert np.array_equal(labels[tail.indices], np.repeat(np.arange(5), tail.counts))
    assert len(np.unique(tail.indices)) == len(tail.indices) == sum(tail.counts)
    assert tail.indices.dtype == np.int64


@pytest.mark.parametrize("rule", ["seeded", "ltdd"])
def test_subsets_nest_as_the_factor_grows(rule):
    labels = np.repeat(np.arange(4), 60)
    small, large = (
        build_longtail(labels, 4, imbalance_factor=f, rule=rule).indices for f in (20, 3)
    )
    assert set(small) < set(large)


def test_seed_changes_the_seeded_rule_only():
    labels = np.repeat(np.arange(4), 60)

    def chosen(rule, seed):
        return build_longtail(labels, 4, imbalance_factor=5, rule=rule, seed=seed).sha256

    assert chosen("seeded", 1) == chosen("seeded", 1) != chosen("seeded", 2)
    assert chosen("ltdd", 1) == chosen("ltdd", 2)


def test_seeded_subset_is_pinned():
    """A change of NumPy's generator would silently change every published subset."""
    tail = build_longtail(np.repeat(np.arange(3), 9), 3, imbalance_factor=3)
    assert tail.indices.tolist() == PINNED
    assert tail.sha256 == hashlib.sha256(np.array(PINNED, "<i8").tobytes()).hexdigest()


PINNED = [4, 5, 2, 6, 3, 8, 7, 0, 1, 10, 12, 15, 16, 17, 26, 20, 19]


def test_describe_holds_what_a_report_needs():
    tail = build_longtail(np.repeat(np.arange(3), 9), 3, imbalance_factor=3, seed=5)
    assert tail.own_factor == 3.0
    assert tail.describe() == {
        "rule": "seeded",
        "imbalance_factor": 3.0,
        "seed": 5,
        "counts": [9, 5, 3],
        "total": 17,
        "sha256": tail.sha256,
    }


def test_unknown_rule_and_negative_seed_are_refused():
    labels = np.repeat(np.arange(3), 9)
    with pytest.raises(ValueError, match=r"unknown long-tail rule 'lttd'.*did you mean 'ltdd'"):
        build_longtail(labels, 3, imbalance_factor=2, rule="lttd")
    with pytest.raises(ValueError, match=r"seed must be >= 0, got -1"):
        build_longtail(labels, 3, imbalance_factor=2, seed=-1)


def test_ipc_beyond_the_smallest_class_is_refused():
    check_ipc(CIFAR10_LT[200], 25)
    with pytest.raises(ValueError, match=r"takes 40 distinct.*class 9 has 25: use replacement"):
        check_ipc(CIFAR10_LT[200], 10 * 2**2, remedy="use replacement")


def labelled_pixels():
    """12 + 8 + 8 training images whose pixel is their index, two test images a class."""
    labels = np.repeat(np.arange(3, dtype=np.int32), [12, 8, 8])
    images = np.arange(28, dtype=np.uint8).reshape(28, 1, 1, 1)
    test_labels = np.repeat(np.arange(3, dtype=np.int32), 2)
    return Dataset(
        "tiny", images, labels, images[:6], test_labels, ("a", "b", "c"), (0.5,), (0.25,)
    )


def test_tuning_images_are_training_images_that_the_subset_left_out():
    dataset = labelled_pixels()
    longtail = build_longtail(dataset.train_labels, 3, imbalance_factor=4.0)
    assert longtail.counts == (12, 6, 3)
    tuning = tuning_split(dataset, longtail, per_class=4)
    pixels = tuning.test_images.ravel()
    assert len(set(pixels)) == len(pixels) == 6
    assert not set(pixels) & set(longtail.indices)
    np.testing.assert_array_equal(tuning.test_labels, dataset.train_labels[pixels])
    np.testing.assert_array_equal(np.bincount(tuning.test_labels, minlength=3), [0, 2, 4])
    assert tuning.train_images is dataset.train_images


def test_a_subset_that_leaves_nothing_out_cannot_be_tuned_on():
    dataset = labelled_pixels()
    keep = np.r_[0:8, 12:28]
    equal = dataclasses.replace(
        dataset, train_images=dataset.train_images[keep], train_labels=dataset.train_labels[keep]
    )
    longtail = build_longtail(equal.train_labels, 3, imbalance_factor=1.0)
    with pytest.raises(ValueError, match=r"uses all 24 training images, none is left .*: raise"):
        tuning_split(equal, longtail, per_class=4)
