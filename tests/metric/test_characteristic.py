"""Characteristic functions against closed forms and a float64 reference."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import csdm_jax as cj
from csdm_jax.metric.characteristic import _tile_size


def reference(x, frequencies, weights=None):
    waves = np.exp(1j * np.asarray(x, np.float64) @ np.asarray(frequencies, np.float64).T)
    return np.average(waves, axis=0, weights=weights)


def sample(n=7, d=4, num=9, seed=0):
    rng = np.random.default_rng(seed)
    return (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((n, d), (num, d)))


def test_agrees_with_the_reference_also_weighted():
    x, t = sample()
    weights = np.arange(7.0)
    phi = cj.characteristic_function(x, t)
    assert (phi.shape, phi.dtype) == ((9,), jnp.complex64)
    np.testing.assert_allclose(phi, reference(x, t), atol=1e-6)
    weighted = cj.characteristic_function(x, t, weights=jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(weighted, reference(x, t, weights), atol=1e-6)


def test_gaussian_closed_form():
    rng = np.random.default_rng(1)
    mean, root = np.array([0.3, -0.5]), np.array([[1.0, 0.0], [0.4, 0.7]])
    x = mean + rng.normal(size=(200_000, 2)) @ root.T
    t = np.array([[0.5, 0.2], [-1.0, 0.3], [0.0, 0.0], [1.2, 1.1]])
    expected = np.exp(1j * t @ mean - 0.5 * np.sum((t @ root) ** 2, axis=1))
    phi = cj.characteristic_function(jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32))
    np.testing.assert_allclose(phi, expected, atol=8e-3)  # 1 / sqrt(n) is 2.2e-3


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_sample_chunks_change_nothing(chunk):
    x, t = sample()
    whole, chunked = (cj.characteristic_function(x, t, sample_chunk=c) for c in (None, chunk))
    np.testing.assert_allclose(chunked, whole, atol=1e-6)


def test_chunks_copy_the_features_only_where_they_must():
    """5200 rows in chunks of 512 at most are 13 of 400; 5987, a prime, has to be padded."""
    chunked = jax.jit(functools.partial(cj.characteristic_function, sample_chunk=512))

    def copied(rows):
        lowered = chunked.lower(jnp.ones((rows, 64)), jnp.ones((8, 64)))
        return lowered.compile().memory_analysis().temp_size_in_bytes / (rows * 64 * 4)

    assert copied(5200) < 0.5 < copied(5987)
    assert [_tile_size(rows, 512) for rows in (5200, 5987)] == [400, 499]


def test_the_phases_of_all_frequencies_are_one_matmul():
    """All frequencies, all classes: one product without batch dimensions per sample."""
    _, t = sample()
    real, synthetic = jnp.ones((3, 7, 4)), jnp.ones((3, 2, 4))
    compiled = jax.jit(cj.sdd_loss).lower(real, synthetic, t).as_text()
    products = re.findall(r"stablehlo.dot_general.*x4xf32>, tensor<9x4xf32>\).*", compiled)
    assert len(products) == 2 and not any("batching" in product for product in products)


def test_the_gradient_keeps_phases_and_computes_no_product_again():
    """Per sample: one product with the frequencies for the value, one for its gradient."""
    x, t = (jnp.ones(shape) for shape in ((1500, 32), (64, 32)))  # three tiles on a CPU

    def flops(function):
        return jax.jit(function).lower(x, t).compile().cost_analysis()["flops"]

    def loss(x, t, **kwargs):
        return jnp.sum(jnp.abs(cj.characteristic_function(x, t, **kwargs)))

    kept, again = (flops(jax.grad(f)) for f in (loss, functools.partial(loss, sample_chunk=500)))
    assert again - kept == pytest.approx(2 * 500 * 32 * 64, rel=0.3)  # of one tile in the loop


def test_refusals():
    x, t = sample()
    with pytest.raises(ValueError, match=r"x features must have shape \[n, d\], got \(2, 7, 4\)"):
        cj.characteristic_function(jnp.stack([x, x]), t)
    with pytest.raises(ValueError, match=r"sample_chunk must be at least 1, got 0"):
        cj.characteristic_function(x, t, sample_chunk=0)
