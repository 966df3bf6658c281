"""MMD^2 against its definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import pairwise

import csdm_jax as cj

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(7, 4)), RNG.normal(size=(5, 4)) + 0.4
SAMPLES = jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32)


def test_both_estimators_agree_with_the_definition():
    def gram(a, b):
        return pairwise.rbf_kernel(a, b, gamma=0.32)

    off = [gram(a, a)[~np.eye(len(a), dtype=bool)].mean() for a in (X, Y)]
    whole = [gram(a, a).mean() for a in (X, Y)]
    for unbiased, within in ((False, whole), (True, off)):
        value = cj.mmd2(*SAMPLES, cj.RBF(0.8), unbiased=unbiased)
        assert (value.shape, value.dtype) == ((), jnp.float32)
        assert float(value) == pytest.approx(sum(within) - 2 * gram(X, Y).mean(), rel=1e-5)


def test_linear_kernel_compares_the_means():
    expected = np.sum((X.mean(axis=0) - Y.mean(axis=0)) ** 2)
    assert float(cj.mmd2(*SAMPLES, cj.Linear())) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kernel", [cj.Laplace(0.3), cj.Cosine()], ids=repr)
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_chunks_change_neither_value_nor_gradient(kernel, unbiased, chunk):
    def of(x, y, chunk):
        return cj.mmd2(x, y, kernel, unbiased=unbiased, sample_chunk=chunk)

    compiled = jax.jit(jax.value_and_grad(of, (0, 1)), static_argnums=2)
    (whole, gradients), (chunked, chunked_gradients) = (
        compiled(*SAMPLES, size) for size in (None, chunk)
    )
    np.testing.assert_allclose(chunked, whole, rtol=1e-5, atol=1e-6)
    for left, right in zip(chunked_gradients, gradients, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_identical_samples_give_zero():
    for kernel in (cj.RBF(1.0), cj.Laplace(1.0), cj.Matern(1.0, 1.5)):
        assert abs(float(cj.mmd2(SAMPLES[0], SAMPLES[0], kernel))) < 1e-6


def test_refusals():
    x, y = SAMPLES
    with pytest.raises(ValueError, match=r"needs at least 2 rows, y has shape \(1, 4\): take more"):
        cj.mmd2(x, y[:1], cj.RBF(1.0), unbiased=True)
    with pytest.raises(ValueError, match=r"needs at least 1 rows, x has shape \(0, 4\)"):
        cj.mmd2(x[:0], y, cj.RBF(1.0))
    with pytest.raises(ValueError, match=r"take both from one network, one row per image"):
        cj.mmd2(x, y[:, :2], cj.RBF(1.0))
    with pytest.raises(ValueError, match=r"sample_chunk must be at least 1, got 0"):
        cj.mmd2(x, y, cj.RBF(1.0), sample_chunk=0)


@pytest.mark.parametrize("kernel", [cj.RBF(0.8), cj.Polynomial(2, 1.0, 1.0)], ids=repr)
@pytest.mark.parametrize("chunk", [None, 3])
def test_rows_of_weight_zero_count_nowhere_and_doubled_weights_as_two_rows(kernel, chunk):
    x, y = SAMPLES
    weights = jnp.array([1.0, 0.0, 2.0, 1.0, 0.0, 1.0, 1.0])
    repeated = x[np.array([0, 2, 2, 3, 5, 6])]
    found = cj.mmd2(x, y, kernel, x_weights=weights, sample_chunk=chunk)
    assert float(found) == pytest.approx(float(cj.mmd2(repeated, y, kernel)), rel=1e-5)


@pytest.mark.parametrize("weights, unbiased", [(jnp.ones(3), False), (jnp.ones(7), True)])
def test_weights_that_do_not_fit_are_refused(weights, unbiased):
    with pytest.raises(ValueError, match="one number per row of x, and unbiased=False"):
        cj.mmd2(*SAMPLES, cj.RBF(0.8), x_weights=weights, unbiased=unbiased)
