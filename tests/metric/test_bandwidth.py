"""The median heuristic against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

import csdm_jax as cj

X, Y = (np.random.default_rng(i).normal(size=(n, 6)) for i, n in enumerate((40, 25)))


@pytest.mark.parametrize("rows", [(X,), (X, Y)], ids=["one sample", "two"])
def test_it_is_the_inverse_root_of_half_the_median_square(rows):
    squares = distance.pdist(np.concatenate(rows), "sqeuclidean")
    found = cj.median_heuristic(*(jnp.asarray(a, jnp.float32) for a in rows))
    assert (found.shape, found.dtype) == ((), jnp.float32)
    assert float(found) == pytest.approx(1 / np.sqrt(np.median(squares) / 2), rel=1e-5)


def test_the_kernel_is_exp_minus_1_at_the_median_distance():
    rows = jnp.array([[0.0], [7.0]])
    assert float(cj.RBF(cj.median_heuristic(rows))(rows, rows)[0, 1]) == pytest.approx(np.exp(-1))


def test_many_rows_are_thinned_and_a_key_draws_them():
    rows = jnp.asarray(np.random.default_rng(3).normal(size=(4000, 6)), jnp.float32)
    whole = 1 / np.sqrt(np.median(distance.pdist(rows[::2], "sqeuclidean")) / 2)
    spaced = cj.median_heuristic(rows, max_rows=500)
    drawn = [cj.median_heuristic(rows, key=jax.random.key(i), max_rows=500) for i in (0, 0, 1)]
    assert float(drawn[0]) == float(drawn[1]) != float(drawn[2])
    np.testing.assert_allclose([spaced, *drawn], whole, rtol=0.05)
    assert float(spaced) == float(cj.median_heuristic(rows[::8]))


def test_it_is_constant_for_gradients_and_runs_under_jit():
    gradient = jax.jit(jax.grad(lambda x: cj.median_heuristic(x) * jnp.sum(x)))(jnp.asarray(X))
    np.testing.assert_allclose(gradient, float(cj.median_heuristic(X)), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X[0],), {}, r"needs features \[n, d\] of at least 2 rows, got \(6,\)"),
        ((X[:1],), {}, r"at least 2 rows, got \(1, 6\): take more samples"),
        ((X, Y[:, :2]), {}, r"got \(40, 6\) and \(25, 2\): take both from one network"),
        ((X,), {"max_rows": 1}, r"max_rows must be at least 2, got 1"),
        ((np.ones((4, 2)),), {}, r"median distance is 0.0: half of the rows are equal"),
    ],
)
def test_refusals(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        cj.median_heuristic(*arguments, **options)
