"""`sdd.estimator`: how the loss of CSDM takes SDD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.distillation import methods
from csdm_jax.distillation.methods.base import Context
from csdm_jax.experiment import config as configuration
from csdm_jax.metric import unit_features
from csdm_jax.metric.ragged import Ragged
from tests.problem import rounds, tiny_config, tiny_loop

SIZES = (6, 3, 5)


def distance(tiny, name="csdm", alpha=None, normalise=False, **sdd):
    """Loss and parts of a method's metric, as a function of synthetic features and a key."""
    config = tiny_config(sdd)
    config.alpha.normalise = normalise
    if alpha is not None:
        config.alpha.single = alpha
    context = Context(tiny.host, tiny.network, tiny.normaliser, ("pixels", 1))
    of = methods.create(name, config, context)._distance
    rng = np.random.default_rng(0)
    dim = tiny.network.feature_dim
    real, synthetic = (
        unit_features(jnp.asarray(rng.normal(size=(rows, dim)) + shift, jnp.float32))
        for rows, shift in ((sum(SIZES), 0.2), (6, 0.0))
    )
    classes = jnp.arange(3)
    real, other = Ragged(real, SIZES, classes), Ragged(synthetic, (2, 2, 2), classes)
    return jax.jit(lambda rows, key: of(real, other.with_values(rows), key)), synthetic


def test_exact_is_the_spectral_loss_with_less_noise(tiny):
    keys = jax.random.split(jax.random.key(0), 64)
    found = {}
    for estimator in ("spectral", "exact"):
        of, rows = distance(tiny, estimator=estimator, num_frequencies=256)
        found[estimator] = np.array([of(rows, key)[0] for key in keys])
        assert of(rows, keys[0])[1].keys() == {"amplitude", "phase"}
    means, spreads = zip(*((v.mean(), v.std()) for v in found.values()), strict=True)
    assert abs(means[0] - means[1]) < 4 * np.hypot(*spreads) / 8
    assert 0 < spreads[1] < spreads[0] / 3


@pytest.mark.parametrize("estimator", ["exact", "auto"])
def test_at_a_half_no_frequencies_are_drawn(tiny, estimator):
    of, rows = distance(tiny, "csdm_single", 0.5, estimator=estimator, num_frequencies=97)
    loss, parts = of(rows, jax.random.key(0))
    assert parts.keys() == {"sdd"}
    assert float(of(rows, jax.random.key(1))[0]) == float(loss)
    assert "tensor<97x" not in of.lower(rows, jax.random.key(0)).as_text()


def test_a_step_of_the_exact_loss_is_watched_and_moves_the_images():
    loop = tiny_loop(sdd={"estimator": "exact"})
    state, metrics = rounds(loop, 1)
    assert np.isfinite(metrics.loss).all() and metrics.by_class["amplitude"].shape == (1, 3)
    before = loop.begin(jax.random.key(0))[0].stored["images"]
    assert float(jnp.abs(state.stored["images"] - before).max()) > 0


def test_a_kernel_without_gram_matrix_is_refused():
    config = configuration.default_config()
    config.sdd.update({"kernel": "matern", "nu": 2.0, "estimator": "exact"})
    with pytest.raises(ValueError, match="Matern's Gram matrix needs nu = 1/2, 3/2"):
        methods.kind("csdm").check(config)


def test_normalised_alphas_change_no_norm(tiny):
    """Each class pulls its features as much as at alpha = 1/2, whatever alpha is."""
    norms = {}
    for name, alpha, normalise in (("csdm_single", 0.5, False), ("csdm", None, True),
                                   ("csdm", None, False)):  # fmt: skip
        of, rows = distance(tiny, name, alpha, normalise)
        key = jax.random.key(0)
        gradient = jax.grad(lambda rows, of=of, key=key: of(rows, key)[0])(rows)
        norms[normalise, name] = np.linalg.norm(np.reshape(gradient, (3, -1)), axis=1)
    expected = norms[False, "csdm_single"]
    np.testing.assert_allclose(norms[True, "csdm"], expected, rtol=1e-4)
    assert np.abs(norms[False, "csdm"] / expected - 1).max() > 0.2
