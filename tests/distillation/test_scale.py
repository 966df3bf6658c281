"""A scale that is left open: the median heuristic, and a warning where it lies in the noise."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import metric
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods.matching import spectral
from tests.problem import tiny_config, tiny_loop


@pytest.fixture(scope="module")
def given():
    loop = tiny_loop(augmentation="flip", form=("pixels", 1))
    return loop.method._context, loop.supplied


def median_in_float64(context, supplied):
    params = jax.tree.map(lambda leaf: leaf[0], supplied[0].trained)
    images = context.normaliser(jnp.asarray(context.host.take(np.arange(len(context.host)))))
    rows = np.float64(context.network.apply(params, images)[1])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    squares = ((rows[:, None] - rows[None]) ** 2).sum(-1)[np.triu_indices(len(rows), 1)]
    return np.sqrt(2 / np.median(squares))


@pytest.mark.parametrize(("name", "field"), [("csdm", "sdd.scale"), ("ncfm", "ncfm.scale")])
def test_an_open_scale_is_the_median_heuristic_and_the_loss_scale_is_of_it(given, name, field):
    config = tiny_config(loss_scale=0.0, augmentation="flip")
    config.update_from_flattened_dict({field: 0.0, "mmd.kernel": "rbf"})
    found = methods.kind(name).settle(config, *given)
    np.testing.assert_allclose(found[field], median_in_float64(*given), rtol=5e-3)
    config.update_from_flattened_dict({field: found[field]})
    again = methods.kind(name).settle(config, *given)
    assert again == {"distill.loss_scale": found["distill.loss_scale"]}


def test_a_scale_that_is_given_stays(given):
    assert methods.kind("csdm").settle(tiny_config(), *given) == {}


@pytest.mark.parametrize(("scale", "number", "warned"), [(8.0, 4, True), (1.0, 4096, False)])
def test_too_few_frequencies_are_warned_about(given, scale, number, warned, caplog):
    config = tiny_config(sdd={"scale": scale, "num_frequencies": number})
    with caplog.at_level(logging.WARNING, logger="absl"):
        methods.kind("csdm").settle(config, *given)
    assert ("lies in the noise" in caplog.text) == warned


def test_the_error_of_a_gradient_is_that_of_its_frequencies(given):
    context, supplied = given
    config = tiny_config(sdd={"num_frequencies": 64})
    rows = spectral._unit_features(context, supplied, np.arange(context.counts[0]))
    kernel = metric.RBF(1.0)
    drawn = spectral.frequencies(config, context, kernel, jax.random.key(0))
    y = rows[: config.distill.ipc * context.parameterisation.tiles]
    spectral_one, exact = (
        np.asarray(jax.grad(f)(y), np.float64)
        for f in (lambda y: metric.sdd(rows, y, drawn), lambda y: metric.mmd2(rows, y, kernel))
    )
    expected = np.linalg.norm(spectral_one - exact) / np.linalg.norm(exact)
    found = spectral.gradient_error(config, context, supplied)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_a_kernel_of_another_distance_has_no_median_scale():
    config = tiny_config(sdd={"scale": 0.0, "kernel": "laplace"})
    with pytest.raises(ValueError, match="give a scale"):
        methods.kind("csdm").check(config)


def test_a_method_is_not_made_while_its_scale_is_open(given):
    with pytest.raises(ValueError, match=r"sdd\.scale is open"):
        methods.create("csdm", tiny_config(sdd={"scale": 0.0}), given[0])
