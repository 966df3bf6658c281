"""The permutation test: level, power, and what it counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import csdm_jax as cj
from csdm_jax.metric import two_sample

KEYS = jax.random.split(jax.random.key(0), 200)
N, M, SHIFT = 60, 40, 0.4


@functools.partial(jax.jit, static_argnums=1)
def p_values(shift, limit):
    """p of tests with B = 19; `limit` decides which relabellings are compiled."""

    def one(key):
        draw_key, frequency_key, test_key = jax.random.split(key, 3)
        rows = jax.random.normal(draw_key, (N + M, 2))
        t = cj.sample_frequencies(frequency_key, cj.RBF(0.5), 32, 2)
        return cj.sdd_test(test_key, rows[:N] + shift, rows[N:], t, permutations=19)[1]

    return jax.vmap(one)(KEYS)


@pytest.mark.parametrize("limit", [8, 0], ids=["orders", "rotations"])
def test_p_is_uniform_under_the_null_and_small_under_a_shift(limit, monkeypatch):
    """Kolmogorov-Smirnov at a fixed seed, of p less a uniform part of its step of 1/20.

    Power: as much as Hotelling's test, the best for a shift of Gaussian laws, within 0.12.
    """
    monkeypatch.setattr(two_sample, "ROTATE_FROM", limit)
    p = np.asarray(p_values(0.0, limit))
    np.testing.assert_allclose(p * 20, np.round(p * 20), atol=1e-3)
    assert p.min() > 0
    spread = p - np.random.default_rng(0).uniform(size=len(p)) / 20
    assert stats.kstest(spread, "uniform").pvalue > 0.05
    level, freedom = 0.1, N + M - 3
    best = 1 - stats.ncf.cdf(
        stats.f.ppf(1 - level, 2, freedom), 2, freedom, N * M / (N + M) * 2 * SHIFT**2
    )
    power = np.mean(np.asarray(p_values(SHIFT, limit)) <= level)
    assert 0.7 < best < 0.95 and abs(power - best) < 0.12


def test_the_statistic_is_sdd_and_p_counts_all_relabellings():
    """Against SciPy's permutation test, which takes all 252 relabellings of five and five."""
    rng = np.random.default_rng(1)
    x, y, t = rng.normal(size=(5, 2)) + 0.7, rng.normal(size=(5, 2)), rng.normal(size=(8, 2))

    def statistic(*numbers):
        rows = np.concatenate([x, y])
        waves = [np.exp(1j * rows[np.int64(n)] @ t.T).mean(axis=0) for n in numbers]
        return np.mean(np.abs(waves[0] - waves[1]) ** 2)

    numbers = np.arange(5.0), np.arange(5.0, 10.0)
    whole = stats.permutation_test(numbers, statistic, n_resamples=np.inf, alternative="greater")
    value, p = cj.sdd_test(jax.random.key(2), x, y, t, permutations=4000, sample_chunk=3)
    assert float(value) == pytest.approx(whole.statistic, rel=1e-5)
    assert float(value) == pytest.approx(float(cj.sdd(x, y, t)), rel=1e-5)
    assert abs(float(p) - whole.pvalue) < 4 * np.sqrt(whole.pvalue / 4000) + 1 / 4001


def test_equal_rows_are_never_rare():
    rows, t = jnp.ones((4, 2)), jnp.ones((3, 2))
    assert float(cj.sdd_test(jax.random.key(0), rows, rows, t, permutations=9)[1]) == 1.0


@pytest.mark.parametrize("limit", [8, 0])
def test_relabellings_keep_the_sizes_and_differ(limit, monkeypatch):
    monkeypatch.setattr(two_sample, "ROTATE_FROM", limit)
    labels = np.asarray(two_sample._labels(jax.random.key(0), (5, 9), 40)(jnp.arange(14)))
    assert labels.shape == (41, 14) and np.all(labels.sum(axis=1) == 5)
    assert labels[0].tolist() == [True] * 5 + [False] * 9
    assert len(np.unique(labels, axis=0)) > 10


def test_refusals():
    x, t = jnp.ones((3, 2)), jnp.ones((4, 2))
    with pytest.raises(ValueError, match="permutations must be at least 1, got 0"):
        cj.sdd_test(jax.random.key(0), x, x, t, permutations=0)
    with pytest.raises(ValueError, match="x features have d=2, y d=1: take both from one network"):
        cj.sdd_test(jax.random.key(0), x, x[:, :1], t)
