"""What alpha does to a class's gradient, and the loss that keeps its norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import csdm_jax as cj
from csdm_jax.metric.ragged import Ragged

RNG = np.random.default_rng(0)
SIZES = ((6, 2, 5), (3, 1, 2))
REAL, SYNTHETIC = (
    Ragged(jnp.asarray(RNG.normal(size=(sum(s), 4)) * 0.6 + shift, jnp.float32), s)
    for s, shift in zip(SIZES, (0.0, 0.3), strict=True)
)
T = jnp.asarray(RNG.normal(size=(9, 4)), jnp.float32)
ALPHAS = jnp.array([0.2, 0.5, 0.9])
FORMS = [{}, {"estimator": "exact", "kernel": cj.RBF(1.0)}]
BY_FORM = pytest.mark.parametrize("form", FORMS, ids=["spectral", "exact"])


def by_class(gradient):
    return np.split(np.asarray(gradient, np.float64), np.cumsum(SIZES[1])[:-1])


def norms(gradient):
    return [np.linalg.norm(part) for part in by_class(gradient)]


@BY_FORM
def test_norms_are_those_of_gradients_and_a_normalised_loss_has_those_of_a_half(form):
    def terms(rows):
        def loss(alpha, **options):
            side = SYNTHETIC.with_values(rows)
            return cj.sdd_parts(REAL, side, T, alpha=alpha, **form, **options)

        (plain, parts), (held, same) = loss(ALPHAS), loss(ALPHAS, normalise=True)
        assert parts.keys() == same.keys()
        terms = {"loss": plain, "held": held, "half": loss(0.5)[0]}
        return terms | {name: jnp.sum(part) for name, part in parts.items()}

    @jax.jit
    def run(rows):
        found = cj.sdd_gradients(REAL, SYNTHETIC.with_values(rows), T, alpha=ALPHAS, **form)
        return found, jax.jacrev(terms)(rows)

    found, gradients = run(SYNTHETIC.values)
    alpha, half = np.asarray(ALPHAS), norms(gradients["half"])
    np.testing.assert_allclose(found["loss"], norms(gradients["loss"]), rtol=1e-4)
    np.testing.assert_allclose(found["half"], half, rtol=1e-4)
    for part, weight in (("amplitude", alpha), ("phase", 1 - alpha)):
        expected = weight * norms(gradients[part])
        np.testing.assert_allclose(found[part], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norms(gradients["held"]), half, rtol=1e-4)
    for a, b in zip(by_class(gradients["loss"]), by_class(gradients["held"]), strict=True):
        assert np.sum(a * b) == pytest.approx(np.linalg.norm(a) * np.linalg.norm(b), rel=1e-5)
    assert np.abs(np.array(half) / norms(gradients["loss"]) - 1).max() > 0.2


def test_equal_samples_have_no_gradient_to_hold():
    @jax.jit
    @jax.value_and_grad
    def run(rows):
        side = REAL.with_values(rows)
        return cj.sdd_loss(REAL, side, T, alpha=ALPHAS, normalise=True)

    value, gradient = run(REAL.values)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_one_class_gives_scalars_and_a_sketch_no_gradient():
    rows = SYNTHETIC.values
    run = jax.jit(lambda x, y: cj.sdd_gradients(x, y, T, alpha=0.3))
    assert run(REAL.values, rows)["loss"].shape == ()
    with pytest.raises(ValueError, match="synthetic features whose sizes are known, got"):
        cj.sdd_gradients(REAL.values, cj.sketch(rows, T), T, alpha=0.3)
