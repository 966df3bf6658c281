import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from csdm_jax.augment import Augmentation
from csdm_jax.training.optimisers import optimiser, step_decay
from csdm_jax.training.trainer import Recipe, Trainer

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
    recipe = dataclasses.replace(
        RECIPE, epochs=1, batch=100, optimiser="sgd", learning_rate=0.1, **changes
    )
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
