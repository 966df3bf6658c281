"""Orthonormal rows against the laws of a uniform vector and of QR's uniform orthogonal matrices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import csdm_jax as cj
from csdm_jax.metric.rotations import orthonormal_rows


@pytest.mark.parametrize("dim", [1, 2, 5, 23, 96])
def test_rows_are_orthonormal_in_every_dimension(dim):
    for rows in {1, (dim + 1) // 2, dim}:
        q = np.asarray(orthonormal_rows(jax.random.key(dim), 2, rows, dim), np.float64)
        assert q.shape == (2, rows, dim)
        expected = np.broadcast_to(np.eye(rows), (2, rows, rows))
        np.testing.assert_allclose(q @ q.transpose(0, 2, 1), expected, atol=2e-6)
        assert dim == 1 or np.abs(q[0, 0] - q[1, 0]).max() > 0.05  # matrices of their own


@pytest.mark.parametrize(("rows", "dim"), [(2, 2), (3, 3), (6, 6), (3, 9), (12, 12)])
def test_every_single_row_is_uniform(rows, dim):
    """Along any direction (1 + r.z)/2 is Beta((dim-1)/2, (dim-1)/2): to 0.7 % in the CDF."""
    draws = 60_000
    q = np.asarray(orthonormal_rows(jax.random.key(1), draws, rows, dim), np.float64)
    rng = np.random.default_rng(0)
    directions = [np.eye(dim)[0], np.eye(dim)[-1], rng.normal(size=dim), np.eye(dim)[:2].sum(0)]
    law = stats.beta((dim - 1) / 2, (dim - 1) / 2).cdf
    for row in range(rows):
        for z in directions:
            along = q[:, row] @ (z / np.linalg.norm(z))
            distance = stats.kstest(np.clip(0.5 + along / 2, 0, 1), law).statistic
            assert distance < 1.95 * 1.15 / np.sqrt(draws), (row, z)  # level 4e-5 each


def test_kernel_estimates_are_unbiased_row_by_row():
    """E cos(t.z) over draws is the kernel, for every row alone, to five standard errors."""
    dim, draws = 6, 40_000
    z = jnp.asarray(np.random.default_rng(3).normal(size=(4, dim)) * 0.7, jnp.float32)
    kernel = cj.Matern(1.0, 1.5)
    frequencies = jax.vmap(
        lambda key: cj.sample_frequencies(key, kernel, dim + 1, dim, method="orthogonal")
    )(jax.random.split(jax.random.key(5), draws))
    waves = np.cos(np.asarray(jnp.einsum("krd,zd->krz", frequencies, z), np.float64))
    expected = np.asarray(kernel(z, jnp.zeros((1, dim)))).T
    error = waves.std(axis=0) / np.sqrt(draws)
    assert np.max(np.abs(waves.mean(axis=0) - expected) / error) < 5


def spread(draw, z, draws=800):
    """Standard deviations over draws of the mean of cos(t.z), for each z."""
    estimates = [np.cos(draw(seed) @ z.T).mean(axis=0) for seed in range(draws)]
    return np.std(estimates, axis=0)


@pytest.mark.parametrize(("num", "dim"), [(64, 32), (16, 32), (37, 37)])
def test_estimates_spread_as_with_uniform_orthogonal_matrices(num, dim):
    """Also along an axis, where rows of unmixed columns would hang together."""
    rng = np.random.default_rng(0)
    axes = np.eye(dim)[[0, 1, dim - 1]]
    z = np.concatenate([axes, rng.normal(size=(3, dim)) / np.sqrt(dim)]) * 1.5

    def by_qr(seed):
        source = np.random.default_rng(seed)
        blocks = [np.linalg.qr(source.normal(size=(dim, dim))) for _ in range(-(-num // dim))]
        rows = np.concatenate([q * np.sign(np.diag(r)) for q, r in blocks]).reshape(-1, dim)[:num]
        return rows * np.sqrt(source.chisquare(dim, (num, 1)))

    ours = jax.vmap(
        lambda key: cj.sample_frequencies(key, cj.RBF(1.0), num, dim, method="orthogonal")
    )(jax.random.split(jax.random.key(2), 800))
    ours = np.asarray(ours)
    ratio = spread(lambda seed: ours[seed], z) / spread(by_qr, z)
    assert ratio.min() > 0.85 and ratio.max() < 1.15, ratio  # each known to 3.5 %


FACTORISATIONS = r"lapack|cusolver|hipsolver|geqrf|orgqr|householder|potrf|\bqr\b|cholesky"


@pytest.mark.parametrize("dim", [64, 47])
def test_a_draw_calls_no_factorisation(dim):
    def draw(key):
        return cj.sample_frequencies(key, cj.RBF(1.0), 96, dim, method="orthogonal")

    key = jax.random.key(0)
    texts = [jax.jit(draw).lower(key).compile().as_text()]
    for platform in ("cuda", "tpu"):
        texts.append(jax.export.export(jax.jit(draw), platforms=[platform])(key).mlir_module())
    for text in texts:
        calls = re.findall(r'custom_call_target="([^"]+)"|custom_call @(\w+)', text)
        assert not [call for call in calls if re.search(FACTORISATIONS, "".join(call), re.I)]
    assert re.search(FACTORISATIONS, str(jax.jit(jnp.linalg.qr).lower(jnp.eye(3)).as_text()), re.I)


def test_the_work_is_linear_in_the_numbers_drawn():
    """Operations an entry, by the compiler's count: as many for four times the dimension, but for
    the two small products, whose sides are of the order of the root of the dimension."""

    def per_entry(rows, dim):
        lowered = orthonormal_rows.lower(jax.random.key(0), 1, rows, dim)
        return lowered.compile().cost_analysis()["flops"] / (rows * dim)

    small, large, few = per_entry(256, 256), per_entry(1024, 1024), per_entry(64, 1024)
    assert large < small + 2 * (32 + 32) and large < 250
    assert few < large + 60
