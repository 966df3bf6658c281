"""Sine and cosine in one, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.metric.numerics import sincos


@pytest.mark.parametrize(("reach", "error"), [(1.0, 1e-7), (10.0, 2e-7), (1e4, 2e-7), (1e6, 3e-7)])
def test_agrees_with_float64(reach, error):
    x = np.random.default_rng(0).uniform(-reach, reach, 400_000).astype(np.float32)
    for found, function in zip(jax.jit(sincos)(x), (np.sin, np.cos), strict=True):
        np.testing.assert_allclose(found, function(x.astype(np.float64)), rtol=0, atol=error)


def test_agrees_at_the_joints_of_the_range_reduction():
    joints = (np.arange(-2000, 2001) * np.pi / 2).astype(np.float32)
    x = np.concatenate([joints, np.nextafter(joints, -9e9), np.nextafter(joints, 9e9)])
    sine, cosine = sincos(jnp.asarray(x))
    np.testing.assert_allclose(sine, np.sin(x.astype(np.float64)), rtol=0, atol=2e-7)
    np.testing.assert_allclose(cosine, np.cos(x.astype(np.float64)), rtol=0, atol=2e-7)


def test_zero_is_exact_and_the_ends_stay_in_range():
    assert [float(value) for value in sincos(jnp.float32(0.0))] == [0.0, 1.0]
    huge = jnp.float32([1e8, -3e12, 1e30, 3.4e38])
    assert np.abs(np.stack(sincos(huge))).max() <= 1.0 + 1e-6
    assert np.isnan(np.stack(sincos(jnp.float32([np.nan, np.inf])))).all()


def test_derivatives_are_those_of_sine_and_cosine():
    x = jnp.linspace(-30.0, 30.0, 101)
    for order in (1, 2):
        ours, theirs = (lambda v: sincos(v)[0], lambda v: sincos(v)[1]), (jnp.sin, jnp.cos)
        for found, expected in zip(ours, theirs, strict=True):
            for _ in range(order):
                found, expected = jax.grad(found), jax.grad(expected)
            np.testing.assert_allclose(jax.vmap(found)(x), jax.vmap(expected)(x), atol=5e-7)


def test_double_precision_is_kept():
    with jax.enable_x64(True):
        x = jnp.linspace(-1e3, 1e3, 1001, dtype=jnp.float64)
        sine, cosine = sincos(x)
        np.testing.assert_allclose(sine, np.sin(np.asarray(x)), rtol=0, atol=1e-15)
        np.testing.assert_allclose(cosine, np.cos(np.asarray(x)), rtol=0, atol=1e-15)
