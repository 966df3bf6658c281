"""Kernel ridge regression, FRePo: its parts against scikit-learn and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from csdm_jax import networks, parameterisations
from csdm_jax.distillation.methods.kernel_ridge import frepo
from csdm_jax.distillation.updates import Updates
from tests.distillation.test_families import run as finished
from tests.distillation.test_rivals import configured, problem, quick
from tests.problem import make_loop, read, rounds


def features(seed, rows, columns=5):
    return np.random.default_rng(seed).normal(0.3, 1, (rows, columns))


def krr(support, labels, queries, ridge):
    """Predictions of scikit-learn, float64."""
    regression = pytest.importorskip("sklearn.kernel_ridge").KernelRidge
    kernel = support @ support.T
    fitted = regression(alpha=ridge * np.trace(kernel) / len(kernel), kernel="precomputed")
    return fitted.fit(kernel, labels).predict(queries @ support.T)


@pytest.mark.parametrize("ridge", [1e-6, 0.1])
@pytest.mark.parametrize("rows", [3, 8])  # with more than columns the kernel is singular, too
def test_predictions_are_those_of_scikit_learn(rows, ridge):
    support, queries, labels = features(0, rows), features(1, 4), features(2, rows, 3)
    support[-1], labels[-1] = support[0], labels[0]  # a class of one image begins so
    found = quick(frepo.predict, static_argnums=3)(
        *map(jnp.float32, (support, labels, queries)), ridge
    )
    np.testing.assert_allclose(found, krr(support, labels, queries, ridge), atol=2e-3)


@pytest.mark.parametrize("ridge", [1e-6, 0.1])
def test_the_gradient_of_predictions_is_that_of_central_differences(ridge):
    given = features(0, 4), features(2, 4, 3), features(1, 6)
    weights = features(3, 6, 3)

    def found(*given):
        return jnp.vdot(jnp.float32(weights), frepo.predict(*given, ridge))

    gradient = quick(jax.grad(found, argnums=(0, 1)))(*map(jnp.float32, given))
    for which in (0, 1):
        direction = features(4 + which, *given[which].shape)

        def moved(step, which=which, direction=direction):
            each = list(given)
            each[which] = each[which] + step * direction
            return np.vdot(weights, krr(*each, ridge))

        slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
        np.testing.assert_allclose(np.vdot(gradient[which], direction), slope, rtol=1e-3)


def test_the_margin_of_labels():
    labels = jnp.array([[0.5, 0.4, 0.0], [0.9, -0.1, 0.3], [0.2, 0.2, 0.2], [-1.0, -0.9, -0.95]])
    np.testing.assert_allclose(frepo.margin(labels), [0.1, 1 / 3, 0.0, 0.05], atol=1e-6)
    assert frepo.label_scale(10) == 1 and frepo.label_scale(40) == 2


FEW = {"frepo.ridge": 1e-6, "frepo.networks": 2, "frepo.most_steps": 3, "frepo.network_batch": 4}


@functools.cache
def loop_of():
    """FRePo on classes of 40, 6 and 1 images, with two networks of four steps each."""
    config = configured(FEW, learning_rate=0.05)
    return make_loop("frepo", config, *problem(), form=("pixels", 1))


@functools.cache
def run():
    return rounds(loop_of(), 8)


def test_a_step_reports_the_error_of_the_regression_written_out():
    loop = loop_of()
    method, (state, given) = loop.method, read(loop)
    _, _, place_key, *_ = jax.random.split(given.key, 5)
    place = int(jax.random.randint(place_key, (), 0, 2))
    params = jax.tree.map(lambda leaf: leaf[place], state.online.weights)
    context = method._context

    def phi(images):
        return np.float64(context.network.apply(params, context.normaliser(images))[1])

    labels = np.float64(state.labels)
    np.testing.assert_allclose(
        labels, (np.eye(3)[[0, 0, 1, 1, 2, 2]] - 1 / 3) / 0.3**0.5, rtol=1e-6
    )
    predicted = krr(phi(state.stored["images"]), labels, phi(given.batch.values), 1e-6)
    errors = 0.5 * ((predicted - np.eye(3)[given.batch.ids] + 1 / 3) ** 2).sum(1)
    by_class = [errors[np.asarray(given.batch.ids) == c].mean() for c in range(3)]
    metrics = run()[1]
    np.testing.assert_allclose(metrics.by_class["error"][0], by_class, rtol=2e-2)
    np.testing.assert_allclose(metrics.scalars["margin"][0], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics.loss[0], np.mean(by_class) - 1 / 3, rtol=2e-2)


def test_images_labels_and_networks_move_and_the_error_falls():
    start = loop_of().begin(jax.random.key(0))[0]
    state, metrics = run()
    assert np.mean(state.stored["images"] != start.stored["images"]) > 0.5
    assert np.all(state.labels != start.labels)
    assert np.mean(metrics.scalars["regression"][-3:]) < np.mean(metrics.scalars["regression"][:3])
    made = loop_of().method.result(state)
    assert not made.logits and made.labels.shape == (6, 3)
    np.testing.assert_allclose(made.labels.sum(1), 1, atol=1e-5)
    learned = jnp.float32([[0.3, -0.1, -0.2]] * 6)  # 0.3 + 1 / 3 and so on, sqrt(0.3) as long
    given = loop_of().method.result(state._replace(labels=learned / 0.3**0.5)).labels
    np.testing.assert_allclose(given, learned + 1 / 3, atol=1e-6)
    first = loop_of().method.result(start).labels
    np.testing.assert_allclose(first, np.eye(3)[[0, 0, 1, 1, 2, 2]], atol=1e-6)


def test_networks_begin_staggered_and_are_renewed_after_their_steps():
    loop = loop_of()
    start = loop.begin(jax.random.key(0))[0].online
    assert start.steps.tolist() == [0, 1]
    run_key = jax.random.split(jax.random.key(0))[1]
    steps = [0, 1]
    for number in range(8):
        key = jax.random.split(jax.random.fold_in(run_key, number), 5)[2]
        place = int(jax.random.randint(key, (), 0, 2))
        steps[place] = 0 if steps[place] == 3 else steps[place] + 1
    assert run()[0].online.steps.tolist() == steps
    assert sum(steps) < 8  # some have been renewed


def test_a_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    loop = loop_of()
    whole = finished(loop, tmp_path / "whole")
    monkeypatch.setattr(loop.method, "steps", 2)
    assert finished(loop, tmp_path / "part") != whole
    monkeypatch.setattr(loop.method, "steps", 4)
    assert finished(loop, tmp_path / "part") == whole


def test_an_update_of_some_classes_moves_their_images_and_labels():
    config = configured(optimiser="lamb", classes_per_step=1, learning_rate=0.5)
    form = frepo.WithLabels(parameterisations.create("pixels", 1))
    updates = Updates(config.distill, form, 3)
    learned = {"images": jnp.full((6, 1, 1, 1), 0.9), "labels": jnp.full((6, 3), 2.0)}
    moments, falls = updates.init(learned), jax.tree.map(lambda leaf: -leaf, learned)
    classes = jnp.array([1])
    moved, _ = quick(updates.apply)(learned, falls, moments, jnp.float32(1), classes)
    expected = np.where(np.arange(6) // 2 == 1, 1.0, np.float32(0.9))  # clipped
    np.testing.assert_array_equal(moved["images"].ravel(), expected)
    assert np.all((moved["labels"] > 2.0) == (expected == 1)[:, None])  # labels may be anything


def test_the_doubling_network_is_conv_relu_pool():
    network = networks.create(
        "convnet_doubling", num_classes=3, image_shape=(8, 8, 3), depth=2, width=2
    )
    params = network.init(jax.random.key(0))
    images = jnp.float32(np.random.default_rng(0).normal(size=(2, 8, 8, 3)))
    _, found = network.apply(params, images)
    x = np.float64(images)
    for block in range(2):
        own = params[f"Conv_{block}"]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        x = np.einsum("nhwcij,ijck->nhwk", windows, own["kernel"]) + np.asarray(own["bias"])
        assert x.shape[-1] == 2 * 2**block
        n, side, _, k = x.shape
        x = np.maximum(x, 0).reshape(n, side // 2, 2, side // 2, 2, k).mean((2, 4))
    np.testing.assert_allclose(found, x.reshape(2, -1), rtol=1e-4, atol=1e-6)


def test_a_cosine_lowers_the_learning_rate_of_the_images():
    config = configured(optimiser="sgd", learning_rate=0.1, cosine_to=0.25, steps=4, momentum=0.0)
    updates = Updates(config.distill, parameterisations.create("pixels", 1), 2)
    stored = {"images": jnp.full((2, 1, 1, 1), 0.5)}
    moments, apply = updates.init(stored), quick(updates.apply)
    sizes = []
    for _ in range(5):
        moved, moments = apply(stored, stored, moments, jnp.float32(1), jnp.arange(2))
        sizes.append(float(optax.tree.norm(jax.tree.map(jnp.subtract, moved, stored))))
    expected = 0.25 + 0.75 * (1 + np.cos(np.pi * np.arange(5) / 4)) / 2
    np.testing.assert_allclose(np.array(sizes) / sizes[0], expected, rtol=1e-4)
