import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from csdm_jax import networks
from csdm_jax.augment import Augmentation
from csdm_jax.training.optimisers import optimiser, step_decay
from csdm_jax.training.trainer import Recipe, Trainer, agreement, squared_error

RECIPE = Recipe(
    epochs=8,
    batch=16,
    optimiser="adamw",
    learning_rate=5e-3,
    momentum=0.9,
    weight_decay=0.0,
    decay_at=(),
    decay=0.1,
    augmentation=Augmentation(),
    cutmix=0.0,
)


def targets_of(data):
    return jax.nn.one_hot(data.labels, len(data.counts))


def test_a_separable_problem_is_learned(tiny, key):
    losses = []
    trainer = Trainer(tiny.network, RECIPE, tiny.normaliser)
    params = trainer.fit(
        key,
        tiny.data.images,
        targets_of(tiny.data),
        on_report=lambda epoch, params, loss: losses.append((epoch, loss)),
    )
    logits, _ = tiny.network.apply(params, tiny.normaliser(tiny.data.images))
    assert float(jnp.mean(jnp.argmax(logits, -1) == tiny.data.labels)) == 1.0
    assert [epoch for epoch, _ in losses] == [*range(1, 9)]
    assert losses[-1][1] < 0.5 * losses[0][1]


def test_the_squared_error_is_that_of_centred_logits():
    logits = np.random.default_rng(0).normal(size=(4, 3))
    taught = np.random.default_rng(1).normal(size=(4, 3))
    labels = np.exp(taught) / np.exp(taught).sum(1, keepdims=True)

    def reference(logits):
        gap = (logits - logits.mean(1, keepdims=True)) - (taught - taught.mean(1, keepdims=True))
        return (gap**2).mean(1)

    np.testing.assert_allclose(squared_error(logits, labels), reference(logits), rtol=1e-5)
    slope = jax.grad(lambda x: jnp.sum(squared_error(x, labels)))(jnp.asarray(logits))
    step = 1e-6 * np.eye(12).reshape(12, 4, 3)
    numeric = [(reference(logits + d) - reference(logits - d)).sum() / 2e-6 for d in step]
    np.testing.assert_allclose(np.ravel(slope), numeric, rtol=1e-4, atol=1e-6)
    assert np.isfinite(squared_error(logits, np.eye(3)[[0, 1, 2, 0]])).all()


def test_a_network_learns_the_logits_of_soft_labels(tiny, key):
    sure = 0.8 * targets_of(tiny.data) + 0.2 / 3
    recipe = dataclasses.replace(RECIPE, loss="squared_error", epochs=16)
    trainer, losses = Trainer(tiny.network, recipe, tiny.normaliser), []
    params = trainer.fit(
        key,
        tiny.data.images,
        sure,
        on_report=lambda epoch, params, loss: losses.append(loss),
    )
    logits, _ = tiny.network.apply(params, tiny.normaliser(tiny.data.images))
    own = jnp.argmax(logits, -1) == tiny.data.labels
    assert own.all() and float(jnp.mean(squared_error(logits, sure))) < 0.3
    entropy = -jnp.sum(sure[0] * jnp.log(sure[0]))
    assert losses[-1] < 0.8 * entropy  # than which no cross-entropy is less


def test_one_key_gives_one_network(tiny, key):
    trainer = Trainer(tiny.network, dataclasses.replace(RECIPE, epochs=1), tiny.normaliser)
    arguments = (tiny.data.images, targets_of(tiny.data))
    first, again = trainer.fit(key, *arguments), trainer.fit(key, *arguments)
    other = trainer.fit(jax.random.key(1), *arguments)
    chex.assert_trees_all_equal(first, again)
    assert not np.array_equal(jax.tree.leaves(first)[0], jax.tree.leaves(other)[0])


def test_the_chunks_in_which_progress_is_reported_do_not_change_the_network(tiny, key):
    trainer = Trainer(tiny.network, dataclasses.replace(RECIPE, epochs=3), tiny.normaliser)
    arguments = (tiny.data.images, targets_of(tiny.data))
    epochs = []
    every = trainer.fit(key, *arguments, report_every=1)
    seldom = trainer.fit(
        key, *arguments, report_every=2, on_report=lambda epoch, params, loss: epochs.append(epoch)
    )
    chex.assert_trees_all_equal(every, seldom)
    assert epochs == [2, 3]


def full_batch_step(tiny, key, **changes):
    """One masked SGD step on all data (the batch is larger): the weights before and after."""
    given = {"epochs": 1, "batch": 100, "optimiser": "sgd", "learning_rate": 0.1}
    recipe = dataclasses.replace(RECIPE, **given | changes)
    start = tiny.network.init(jax.random.key(7))
    trained = Trainer(tiny.network, recipe, tiny.normaliser).fit(
        key, tiny.data.images, targets_of(tiny.data), params=jax.tree.map(jnp.copy, start)
    )
    return start, trained


def loss_written_out(tiny, shift=0.0):
    def loss(params):
        logits, _ = tiny.network.apply(params, tiny.normaliser(tiny.data.images))
        return optax.softmax_cross_entropy(logits + shift, targets_of(tiny.data)).mean()

    return loss


def test_one_full_batch_step_equals_a_step_written_out(tiny, key):
    start, trained = full_batch_step(tiny, key, weight_decay=0.01)
    gradient = jax.grad(loss_written_out(tiny))(start)
    expected = jax.tree.map(lambda p, g: p - 0.1 * (g + 0.01 * p), start, gradient)
    chex.assert_trees_all_close(trained, expected, atol=2e-6)


def test_logit_adjustment_adds_the_log_prior_to_the_logits(tiny, key):
    start, trained = full_batch_step(tiny, key, logit_adjustment=1.5)
    counts = np.array(tiny.data.counts)
    gradient = jax.grad(loss_written_out(tiny, 1.5 * np.log(counts / counts.sum())))(start)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, start, gradient)
    chex.assert_trees_all_close(trained, expected, atol=2e-6)


def test_soft_targets_are_learned_as_probabilities(tiny, key):
    soft = jnp.tile(jnp.array([0.6, 0.3, 0.1]), (len(tiny.data.images), 1))
    recipe = dataclasses.replace(RECIPE, epochs=30)
    params = Trainer(tiny.network, recipe, tiny.normaliser).fit(key, tiny.data.images, soft)
    logits, _ = tiny.network.apply(params, tiny.normaliser(tiny.data.images))
    np.testing.assert_allclose(jax.nn.softmax(logits).mean(0), [0.6, 0.3, 0.1], atol=0.03)


def test_the_learning_rate_falls_at_the_given_fractions():
    schedule = step_decay(1.0, 100, (0.2, 0.6), 0.5)
    found = [float(schedule(step)) for step in (0, 19, 20, 59, 60, 99)]
    assert found == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_adamw_decays_weights_beside_the_gradient():
    adamw = optimiser("adamw", 0.1, momentum=0.9, weight_decay=0.5)
    params = jnp.array([2.0])
    updates, _ = adamw.update(jnp.zeros(1), adamw.init(params), params)
    np.testing.assert_allclose(updates, [-0.1 * 0.5 * 2.0], rtol=1e-6)


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match=r"unknown optimiser 'adam'.*adamw"):
        optimiser("adam", 0.1, momentum=0.9, weight_decay=0.0)


def test_class_weights_take_over_as_the_training_goes_on(tiny):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(5, 3)), np.eye(3)[[0, 0, 1, 2, 2]]
    labels[1] = [0.5, 0.0, 0.5]
    real, prior = np.array([1, 1, 1, 1, 0]), np.array([0.7, 0.2, 0.1])
    trainer = Trainer(tiny.network, dataclasses.replace(RECIPE, reweighting=0.5), tiny.normaliser)
    log_q = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    terms = -labels * log_q * real[:, None]
    weights = prior**-0.5 / (prior**-0.5).sum()
    weighted = (terms * weights).sum() / (labels * weights * real[:, None]).sum()
    for late in (0.0, 0.5, 1.0):
        given = map(jnp.float32, (logits, labels, real, np.log(prior), late))
        expected = (1 - late**2) * terms.sum() / 4 + late**2 * weighted
        np.testing.assert_allclose(trainer._classification(*given), expected, rtol=1e-5)


def test_views_agree_by_their_cosine_and_the_fixed_one_has_no_gradient():
    generator = np.random.default_rng(0)
    x, real = generator.normal(size=(6, 4)), jnp.float32([1, 1, 0] * 2)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    pairs = ((0, 3), (1, 4))
    value, gradient = jax.value_and_grad(agreement)(jnp.float32(x), real)
    np.testing.assert_allclose(value, np.mean([cosine(x[i], x[j]) for i, j in pairs]), rtol=1e-5)
    step = np.zeros((6, 4))
    step[0, 1] = 1e-5
    slope = (cosine(x[0] + step[0], x[3]) - cosine(x[0] - step[0], x[3])) / 2e-5
    np.testing.assert_allclose(gradient[0, 1], slope / 4, rtol=1e-4)  # of 4 rows, each counted once
    assert not gradient[2].any()
    assert np.isfinite(jax.grad(agreement)(jnp.zeros((6, 4)), real)).all()


def test_batch_statistics_train_a_network_and_move_its_running_ones(tiny, key):
    network = networks.create(
        "convnet_batch_norm", num_classes=3, image_shape=(8, 8, 3), depth=1, width=4
    )
    own = dataclasses.replace(tiny, network=network)
    start, trained = full_batch_step(
        own, key, weight_decay=0.5, consistency=0.5, batch=len(tiny.data.images)
    )
    images = tiny.normaliser(tiny.data.images)

    def loss(params):
        (logits, _), seen = network.apply_writing(params, images)
        return optax.softmax_cross_entropy(logits, targets_of(tiny.data)).mean(), seen

    # Two views that nothing augments agree: that changes neither statistics nor gradient.
    gradient, seen = jax.jit(jax.grad(loss, has_aux=True))(start)
    expected = jax.tree.map(lambda p, g: p - 0.1 * (g + 0.5 * p), start, gradient)
    for name in ("mean", "variance"):
        expected["BatchNorm_0"][name] = seen["BatchNorm_0"][name]
        assert np.abs(seen["BatchNorm_0"][name] - start["BatchNorm_0"][name]).max() > 1e-3
    chex.assert_trees_all_close(trained, expected, atol=1e-5)
