"""The class schedule by known values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import class_alphas


def test_ends_and_logarithmic_middle():
    alphas = class_alphas(jnp.array([10, 1000, 100]), head=0.75, tail=0.25)
    assert alphas.dtype == jnp.float32
    np.testing.assert_allclose(alphas, [0.25, 0.75, 0.5], rtol=1e-6)


def test_equal_counts_give_the_head_weight():
    np.testing.assert_allclose(class_alphas(jnp.full(4, 500), head=0.7, tail=0.2), 0.7, rtol=1e-6)
    np.testing.assert_allclose(class_alphas(jnp.array([7]), head=0.7, tail=0.2), [0.7], rtol=1e-6)


def test_the_reversed_schedule():
    counts = jnp.array([5000, 500, 50])
    forward = class_alphas(counts, head=0.8, tail=0.2)
    np.testing.assert_allclose(class_alphas(counts, head=0.2, tail=0.8), 1 - forward, rtol=1e-6)


def test_jit_agrees():
    counts = jnp.array([5000, 77, 50])
    compiled = jax.jit(lambda counts: class_alphas(counts, head=0.8, tail=0.2))(counts)
    np.testing.assert_allclose(compiled, class_alphas(counts, head=0.8, tail=0.2), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("end", ["head", "tail"])
def test_weights_outside_the_open_interval_are_refused(end, value):
    ends = {"head": 0.7, "tail": 0.3, end: value}
    with pytest.raises(ValueError, match=rf"{end} must lie in the open interval \(0, 1\), got"):
        class_alphas(jnp.array([2, 1]), **ends)


@pytest.mark.parametrize("counts", [[5, 0], [5, -1], [5.0, float("nan")], [float("inf"), 1.0]])
def test_counts_must_be_positive(counts):
    with pytest.raises(ValueError, match=r"class counts must be positive, got"):
        class_alphas(jnp.array(counts), head=0.7, tail=0.3)


@pytest.mark.parametrize("shape", [(), (0,), (2, 2)])
def test_counts_must_be_a_vector(shape):
    with pytest.raises(ValueError, match=r"counts must be a vector \[classes\], got shape"):
        class_alphas(jnp.ones(shape), head=0.7, tail=0.3)
