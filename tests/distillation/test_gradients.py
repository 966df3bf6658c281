"""The images after an update against updates written out, for each method and for its tiles."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from csdm_jax import metric
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.matching import matching
from csdm_jax.distillation.starts import random
from csdm_jax.experiment import config as configuration
from csdm_jax.runtime.seeds import root_key
from csdm_jax.training import extractors
from tests.problem import make_loop, read, tiny_pool

METHODS = ["csdm", "csdm_single", "dm", "dm_weighted", "mmd", "ncfm"]
IPC, RATE, SCALE, CLASSES = 2, 1e-2, 30.0, 3
START = 5


@pytest.fixture(scope="module")
def context(tiny):
    return base.Context(tiny.host, tiny.network, tiny.normaliser, ("mosaic", 2))


def configured(**distill):
    """Plain gradient descent, whose step shows the gradient, on every class as a whole."""
    config = configuration.default_config()
    config.distill.update(
        {"ipc": IPC, "steps": 3, "batch": 1000, "augmentation": "none", "loss_scale": SCALE}
        | {"optimiser": "sgd", "learning_rate": RATE, "momentum": 0.0, "weight_decay": 0.0}
        | distill
    )
    config.sdd.num_frequencies = 64
    config.ncfm.scale = 1.5
    config.alpha.head, config.alpha.tail, config.alpha.single = 0.8, 0.2, 0.6
    config.mmd.kernel = "rbf"
    return config


def images_before_and_after(name, config, context):
    """One step of a method from images inside (0, 1), where no clip hides the gradient."""
    loop = make_loop(name, config, context.host, context.network, context.normaliser)
    state, given = read(loop, key=START)
    before = 0.25 + 0.5 * jax.random.uniform(jax.random.key(1), state.stored["images"].shape)
    after, metrics = jax.jit(loop.method.step)(state._replace(stored={"images": before}), given)
    return given.key, before, after.stored["images"], metrics


def characteristic(features, frequencies):
    return jnp.mean(jnp.exp(1j * features @ frequencies.T), axis=0)


def spectral(alpha, real, synthetic, frequencies, *, root=False):
    """One class's discrepancy, from complex characteristic functions."""
    phi_r, phi_s = (characteristic(x, frequencies) for x in (real, synthetic))
    amplitude = (jnp.abs(phi_r) - jnp.abs(phi_s)) ** 2
    phase = 2 * (jnp.abs(phi_r) * jnp.abs(phi_s) - jnp.real(phi_r * jnp.conj(phi_s)))
    mixed = alpha * amplitude + (1 - alpha) * phase
    return jnp.mean(jnp.sqrt(mixed) if root else mixed)


def gaussian_gram_mean(x, y):
    squares = jnp.sum((x[:, None] - y[None]) ** 2, axis=-1)
    return jnp.mean(jnp.exp(-squares / 2))


def gaussian_mmd(real, synthetic):
    own = gaussian_gram_mean(real, real) + gaussian_gram_mean(synthetic, synthetic)
    return own - 2 * gaussian_gram_mean(real, synthetic)


def mean_distance(real, synthetic):
    return jnp.sum((real.mean(0) - synthetic.mean(0)) ** 2)


def terms_written_out(name, context, key):
    """Stored images -> matching term and calibration of a step, class by class, without tiles."""
    draw_key, _, _, distance_key = jax.random.split(key, 4)
    blended, trained = extractors.draw(tiny_pool(context.network), draw_key)
    dim = context.network.feature_dim
    kernel = metric.RBF(1.5 if name == "ncfm" else 1.0)
    frequencies = metric.sample_frequencies(distance_key, kernel, 64, dim)
    counts = np.array(context.counts)
    position = np.log(counts / counts.min()) / np.log(counts.max() / counts.min())
    alphas = {"csdm": 0.2 + 0.6 * position, "csdm_single": [0.6] * 3, "ncfm": [0.5] * 3}
    labels = np.repeat(np.arange(CLASSES), IPC * 4)
    images = jnp.asarray(context.host.take(np.arange(len(context.host))))

    def features_of(images):
        features = context.network.apply(blended, context.normaliser(images))[1]
        return features / jnp.linalg.norm(features, axis=1, keepdims=True)

    def distance(c, real, synthetic):
        if name == "dm":
            return mean_distance(real, synthetic)
        if name == "dm_weighted":
            return 2 * (1 - alphas["csdm"][c]) * mean_distance(real, synthetic)
        if name == "mmd":
            return gaussian_mmd(real, synthetic)
        return spectral(alphas[name][c], real, synthetic, frequencies, root=name == "ncfm")

    def terms(stored):
        decoded = context.parameterisation.decode({"images": stored})
        real, synthetic = features_of(images), features_of(decoded)
        total = sum(
            distance(c, real[context.host.labels == c], synthetic[labels == c])
            for c in range(CLASSES)
        )
        logits = context.network.apply(trained, context.normaliser(decoded))[0]
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return total, sum(cross_entropy[labels == c].mean() for c in range(CLASSES))

    return terms


def loss_written_out(name, context, key):
    """Stored images -> the loss of a step."""
    terms = terms_written_out(name, context, key)

    def loss(stored):
        matching, calibration = terms(stored)
        return SCALE * matching + calibration

    return loss


def assert_steps_equal(found, expected, rtol):
    """Updates of all pixels, to a share of the largest."""
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("forward_batch", [4096, 5])
@pytest.mark.parametrize("name", METHODS)
def test_an_update_is_the_gradient_of_the_loss_written_out(name, forward_batch, context):
    config = configured(forward_batch=forward_batch)
    key, before, after, metrics = images_before_and_after(name, config, context)
    with jax.default_matmul_precision("highest"):
        gradient = jax.jit(jax.grad(loss_written_out(name, context, key)))(before)
    assert after.min() > 0 and after.max() < 1
    # A root near 0 makes much of rounding.
    assert_steps_equal(before - after, RATE * gradient, rtol=5e-4 if name == "ncfm" else 2e-5)
    np.testing.assert_allclose(
        metrics.scalars["gradient_norm"], jnp.linalg.norm(gradient), rtol=1e-4
    )


@pytest.mark.parametrize("name", METHODS)
def test_an_open_loss_scale_gives_the_two_terms_the_gradients_of_the_ratio(name, context):
    config = configured(loss_scale=0.0, gradient_ratio=5.0)
    supplied = (tiny_pool(context.network),)
    settled = methods.kind(name).settle(config, context, supplied)
    start, *keys = jax.random.split(root_key("loss scale", 0), matching.DRAWS + 1)
    stored = base.initial_images(context, IPC, start)["images"]
    norms = np.zeros(2)
    with jax.default_matmul_precision("highest"):
        for key in keys:
            gradients = jax.jit(jax.jacrev(terms_written_out(name, context, key)))(stored)
            norms += [float(jnp.linalg.norm(gradient)) for gradient in gradients]
    expected = 5.0 * norms[1] / norms[0]
    assert settled == {"distill.loss_scale": pytest.approx(expected, rel=6e-3)}  # three digits
    config.update_from_flattened_dict(settled)
    assert methods.kind(name).settle(config, context, supplied) == {}


def test_a_loss_scale_that_is_open_is_not_taken_for_none(context):
    with pytest.raises(ValueError, match=r"distill\.loss_scale is open"):
        methods.create("csdm", configured(loss_scale=0.0), context)


def test_images_that_say_nothing_give_no_loss_scale(context):
    config = configured(loss_scale=0.0)
    nothing = jax.tree.map(jnp.zeros_like, tiny_pool(context.network))
    with pytest.raises(ValueError, match=r"give distill\.loss_scale"):
        methods.kind("dm").settle(config, context, (nothing,))


def bilinear_halving(images):
    """Every second pixel under a triangle two pixels to each side, its weights adding up to 1."""
    side = images.shape[1]
    centres = 2 * np.arange(side // 2) + 0.5
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(side)) / 2)
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("ki,nijc,lj->nklc", weights, images, weights)


def test_initial_images_are_the_real_ones_halved_and_laid_out(context, key):
    stored = np.asarray(base.initial_images(context, IPC, key)["images"])
    rows = random.initial_rows(context.counts, IPC * 4, key)
    halved = bilinear_halving(context.host.take(rows).astype(np.float64) / 255)
    for image in range(CLASSES * IPC):
        top, bottom = (
            np.concatenate(halved[4 * image + first : 4 * image + first + 2], axis=1)
            for first in (0, 2)
        )
        np.testing.assert_allclose(stored[image], np.concatenate([top, bottom]), atol=1e-6)
