"""Differences by distillation seed."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from csdm_jax.evaluation import pairs


def run(values):
    """(seed, network) to accuracy -> what `pairs.networks` gives."""
    return {(seed, "convnet", k): {"all": value} for (seed, k), value in values.items()}


def test_the_interval_is_student_s_over_seed_means():
    first = run({(0, 1): 50.0, (0, 2): 60.0, (1, 1): 40.0, (2, 1): 45.0})
    second = run({(0, 1): 51.0, (0, 2): 64.0, (1, 1): 37.0, (2, 1): 46.0})
    (found,) = pairs.differences(first, second)
    assert found.by_seed == {0: (1.0, 4.0), 1: (-3.0,), 2: (1.0,)}
    means = np.array([2.5, -3.0, 1.0])
    low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
    mean, half = found.interval()
    np.testing.assert_allclose([mean - half, mean + half], [low, high])
    p = stats.ttest_1samp(means, 0.0).pvalue
    np.testing.assert_allclose(found.p_value, p)
    text = pairs.table([found])
    row = f"| all | {mean:+.1f} | {low:+.1f} to {high:+.1f} | {p:.2g} | +1.0 +4.0; -3.0; +1.0 |"
    assert row in text


def test_more_networks_of_one_seed_give_no_interval():
    first = run({(0, k): 50.0 for k in range(9)})
    second = run({(0, k): 50.0 + k for k in range(9)})
    (found,) = pairs.differences(first, second)
    assert found.interval() == (4.0, None) and "| one seed | - |" in pairs.table([found])


def test_runs_without_a_common_network_have_no_difference():
    with pytest.raises(ValueError, match="no network tested both"):
        pairs.differences(run({(0, 1): 1.0}), run({(1, 1): 1.0}))


ABLATIONS = Path(__file__).parent.parent.parent / "results" / "ablations"
FACTOR_10, FACTOR_200 = (f"imbalance/imbalance_factor={factor}" for factor in (10, 200))
SAID = [
    ("kernels/kernel=rbf,scale=1,*", "kernels/kernel=rbf,scale=10,*", "all"),
    ("alphas/head=0.1,*", "alphas/head=0.9,*", "many"),
    ("alphas/head=0.1,*", "alphas/head=0.9,*", "few"),
    (f"{FACTOR_10},method=csdm,*", f"{FACTOR_200},method=csdm,*", "all"),
    (f"{FACTOR_10},method=dm,*", f"{FACTOR_10},method=csdm,*", "all"),
    ("networks/method=csdm_single,*", "networks/method=csdm,*", "all"),
]


@pytest.mark.parametrize(("first", "second", "group"), SAID)
def test_the_page_on_the_ablations_has_the_intervals_of_its_cards(first, second, group):
    (a,), (b,) = (list(ABLATIONS.glob(pattern)) for pattern in (first, second))
    found = pairs.differences(pairs.networks(a), pairs.networks(b))
    (one,) = (difference for difference in found if difference.group == group)
    mean, half = one.interval()
    assert f"{abs(mean):.1f} ± {half:.1f}" in (ABLATIONS / "README.md").read_text()


ESTIMATORS = ABLATIONS.parent / "estimators"
BATCH, VIEWS = "view_uses=1,*", "view_uses=8,*"
EXACT, SPECTRAL = ("method=csdm,estimator=" + name for name in ("exact", "spectral"))
SIDE_BY_SIDE = [
    ("digits", f"{EXACT},*{BATCH}", f"{EXACT},*{VIEWS}", "all"),
    ("digits", f"{SPECTRAL},*{BATCH}", f"{SPECTRAL},*{VIEWS}", "few"),
    ("digits", f"method=ncfm,*{BATCH}", f"method=ncfm,*{VIEWS}", "all"),
    ("digits", f"method=dm,*{BATCH}", f"{EXACT},*{BATCH}", "all"),
    ("digits", f"method=ncfm,*{VIEWS}", f"{EXACT},*{VIEWS}", "all"),
    ("cifar10", f"method=dm,*{BATCH}", f"{EXACT},*{BATCH}", "all"),
    ("cifar10", f"method=ncfm,*{BATCH}", f"{EXACT},*{BATCH}", "all"),
    ("cifar10", f"{EXACT},*{BATCH}", f"{EXACT},*{VIEWS}", "all"),
]


@pytest.mark.parametrize(("part", "first", "second", "group"), SIDE_BY_SIDE)
def test_the_page_on_the_estimators_has_the_intervals_of_its_cards(part, first, second, group):
    (a,), (b,) = (list((ESTIMATORS / part).glob(pattern)) for pattern in (first, second))
    found = pairs.differences(pairs.networks(a), pairs.networks(b))
    (one,) = (difference for difference in found if difference.group == group)
    mean, half = one.interval()
    low, high = mean - half, mean + half
    ends = f"{low:.1f} to {high:.1f}" if low > 0 else f"{low:.1f} to {high:+.1f}"
    text = (ESTIMATORS / "README.md").read_text().replace("\n", " ")
    assert f"{abs(mean):.1f} ({ends}, p {one.p_value:.2f})" in text
