"""Statements of docs/theory.md that the tests of no single function hold."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import csdm_jax as cj

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 3)), 0.5 * RNG.normal(size=(4, 3)) + 0.3


def single(*arrays):
    return [jnp.asarray(array, jnp.float32) for array in arrays]


def test_at_a_small_scale_the_phase_is_dm_and_alpha_a_class_weight():
    s = 0.05
    kernel = cj.RBF(s)
    t = cj.sample_frequencies(jax.random.key(0), kernel, 3 * 2**13, 3, method="orthogonal")
    x, y = single(X, Y)
    parts = cj.sdd_parts(x, y, t)[1]
    gap = X.mean(0) - Y.mean(0)
    spread = np.cov(X.T, bias=True) - np.cov(Y.T, bias=True)
    amplitude = s**4 / 4 * (np.trace(spread) ** 2 + 2 * np.sum(spread**2))
    assert float(parts["phase"]) == pytest.approx(s**2 * gap @ gap, rel=0.05)
    assert float(parts["amplitude"]) == pytest.approx(amplitude, rel=0.05)

    few = t[:512]
    gradient = jax.jit(jax.grad(lambda y, alpha: cj.sdd_loss(x, y, few, alpha=alpha)))
    half, weighted = gradient(y, 0.5), gradient(y, 0.7)
    np.testing.assert_allclose(weighted, 2 * (1 - 0.7) * half, atol=0.02 * np.abs(half).max())


def test_on_the_sphere_moments_have_the_weights_of_a_poisson_law():
    s = 1.3
    x, y = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (X, Y))
    moments = [
        ((x @ x.T) ** r).mean() + ((y @ y.T) ** r).mean() - 2 * ((x @ y.T) ** r).mean()
        for r in range(1, 30)
    ]
    weights = [np.exp(-(s**2)) * s ** (2 * r) / math.factorial(r) for r in range(1, 30)]
    assert float(cj.mmd2(*single(x, y), cj.RBF(s))) == pytest.approx(
        np.dot(weights, moments), rel=1e-4
    )


def test_what_a_batch_adds_to_the_value_does_not_depend_on_the_other_side():
    kernel = cj.RBF(0.8)
    x, y = single(X, Y)
    batches = jnp.array(list(itertools.product(range(6), repeat=2)))  # every draw of two rows
    mean = jnp.mean(jax.vmap(lambda rows: cj.mmd2(x[rows], y, kernel))(batches))
    noise = (1 - jnp.mean(kernel(x, x))) / 2
    assert float(mean) == pytest.approx(float(cj.mmd2(x, y, kernel) + noise), rel=1e-4)

    t = jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32)
    squares = jax.vmap(lambda rows: jnp.abs(cj.characteristic_function(x[rows], t)) ** 2)(batches)
    whole = jnp.abs(cj.characteristic_function(x, t)) ** 2
    np.testing.assert_allclose(squares.mean(0), whole + (1 - whole) / 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "num", "error"),
    [
        ("iid", 16, math.sqrt((8 + 1) / 16)),
        ("orthogonal", 16, math.sqrt(2 / 16)),
    ],
)
def test_gradient_noise_of_the_linear_part(method, num, error):
    dim, draws = 8, 2000
    direction = jnp.arange(1.0, dim + 1)

    def error_of(key):
        t = cj.sample_frequencies(key, cj.RBF(1.0), num, dim, method=method)
        return t.T @ (t @ direction) / num - direction

    off = jax.jit(jax.vmap(error_of))(jax.random.split(jax.random.key(1), draws))
    measured = np.sqrt(np.mean(np.sum(np.square(off), 1)) / float(direction @ direction))
    assert measured == pytest.approx(error, rel=0.06)
