"""Rows of classes of different sizes: the same numbers as class by class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import cfd_loss, sdd_loss, sdd_parts
from csdm_jax.metric.ragged import Ragged

SIZES = (3, 1, 5)


def ragged(seed, sizes=SIZES, weights=None):
    values = np.random.default_rng(seed).normal(size=(sum(sizes), 4)).astype(np.float32)
    return Ragged(jnp.asarray(values), sizes, jnp.array([4, 0, 2]), weights)


def test_ids_say_the_class_of_each_row():
    one = ragged(0)
    assert one.ids.tolist() == [4] * 3 + [0] + [2] * 5 and one.num_classes == 3
    assert Ragged(one.values, SIZES).ids.tolist() == [0] * 3 + [1] + [2] * 5


@pytest.mark.parametrize("weighted", [False, True])
def test_means_are_those_of_each_class(weighted):
    weights = np.random.default_rng(9).uniform(0.1, 1, 9).astype(np.float32) if weighted else None
    one = ragged(1, weights=weights)
    parts = np.split(np.asarray(one.values, np.float64), [3, 4])
    shares = np.split(np.ones(9) if weights is None else weights, [3, 4])
    expected = [np.average(x, axis=0, weights=w) for x, w in zip(parts, shares, strict=True)]
    np.testing.assert_allclose(one.means(), expected, rtol=1e-5)
    for (rows, own), part in zip(one.by_class(), parts, strict=True):
        np.testing.assert_array_equal(rows, part.astype(np.float32))
        assert (own is None) == (not weighted)


@pytest.mark.parametrize("loss", [sdd_loss, cfd_loss])
def test_a_loss_takes_it_like_features_with_sizes_and_weights(loss):
    weights = jnp.array([1.0, 0, 2, 1, 1, 0, 3, 1, 1])
    real, synthetic = ragged(2, weights=weights), ragged(3, (2, 2, 2))
    t = jnp.asarray(np.random.default_rng(4).normal(size=(16, 4)), jnp.float32)
    alpha = jnp.array([0.3, 0.5, 0.8])
    expected = loss(
        real.values, synthetic.values, t, alpha=alpha, real_weights=weights, real_sizes=SIZES,
        synthetic_sizes=(2, 2, 2),
    )  # fmt: skip
    np.testing.assert_array_equal(loss(real, synthetic, t, alpha=alpha), expected)


def test_values_alone_are_differentiated_and_sizes_are_static():
    real, synthetic = ragged(5), ragged(6)
    t = jnp.ones((2, 4))
    gradient = jax.jit(
        jax.grad(lambda values: sdd_parts(real, synthetic.with_values(values), t)[0])
    )(synthetic.values)
    assert gradient.shape == (9, 4) and float(jnp.abs(gradient).max()) > 0


def test_sizes_are_not_given_twice():
    with pytest.raises(ValueError, match=r"synthetic features are Ragged .* synthetic_sizes out"):
        sdd_loss(ragged(7), ragged(8), jnp.ones((2, 4)), synthetic_sizes=SIZES)


@pytest.mark.parametrize("use", [lambda r: r.ids, Ragged.means, Ragged.by_class])
def test_classes_of_one_size_have_no_rows_one_after_the_other(use):
    with pytest.raises(ValueError, match=r"have no sizes here: put them one after the other"):
        use(Ragged(jnp.zeros((2, 3, 4)), None))
