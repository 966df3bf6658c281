import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.evaluation import evaluate, statistics
from csdm_jax.evaluation.evaluate import TestSet, accuracy_by_class
from csdm_jax.evaluation.statistics import group_accuracies
from csdm_jax.networks import Network
from csdm_jax.training.trainer import Trainer
from tests.training.test_trainer import RECIPE, targets_of


def constant_network(answer, num_classes):
    def apply(params, images):
        logits = jnp.tile(jax.nn.one_hot(answer, num_classes), (len(images), 1))
        return logits + params, images.reshape(len(images), -1)

    return Network("constant", lambda key: jnp.float32(0), apply, 1)


def test_a_constant_prediction_scores_exactly_its_class_share(tiny):
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(4), [300, 200, 150, 51])).astype(np.int32)
    images = generator.integers(0, 256, (701, 4, 4, 3), np.uint8)  # the last batch is partial
    test = TestSet.create(images, labels, 4)
    overall, by_class = accuracy_by_class(
        constant_network(1, 4), jnp.float32(0), test, tiny.normaliser
    )
    assert overall == 100.0 * 200 / 701
    np.testing.assert_array_equal(by_class, [0, 100, 0, 0])


def test_accuracy_agrees_with_a_loop_over_single_images(tiny):
    test = TestSet.create(tiny.dataset.test_images, tiny.dataset.test_labels, 3)
    params = tiny.network.init(jax.random.key(3))
    overall, by_class = accuracy_by_class(tiny.network, params, test, tiny.normaliser)
    right = []
    for image, label in zip(tiny.dataset.test_images, tiny.dataset.test_labels, strict=True):
        logits, _ = tiny.network.apply(params, tiny.normaliser(jnp.asarray(image[None])))
        right.append(int(jnp.argmax(logits)) == label)
    np.testing.assert_allclose(overall, 100.0 * np.mean(right))
    expected = [100.0 * np.mean(np.array(right)[tiny.dataset.test_labels == c]) for c in range(3)]
    np.testing.assert_allclose(by_class, expected)


def test_the_last_epoch_is_reported_and_the_best_beside_it(tiny, monkeypatch):
    looks = iter([(10.0, np.full(3, 1.0)), (30.0, np.full(3, 2.0)), (20.0, np.full(3, 3.0))])
    monkeypatch.setattr(evaluate, "accuracy_by_class", lambda *arguments: next(looks))
    (result,) = evaluate.evaluate(
        tiny.data.images,
        targets_of(tiny.data),
        None,
        trainer=Trainer(tiny.network, dataclasses.replace(RECIPE, epochs=3), tiny.normaliser),
        seeds=range(1),
        check_every=1,
        label="test",
    )
    assert (result.last, result.best, result.by_class) == (20.0, 30.0, [3.0, 3.0, 3.0])


def test_replicates_are_tested_by_other_networks_and_methods_by_the_same(tiny):
    test = TestSet.create(tiny.dataset.test_images, tiny.dataset.test_labels, 3)

    def losses(replicate):
        results = evaluate.evaluate(
            tiny.data.images,
            targets_of(tiny.data),
            test,
            trainer=Trainer(tiny.network, dataclasses.replace(RECIPE, epochs=1), tiny.normaliser),
            seeds=range(4, 6),
            replicate=replicate,
            check_every=1,
            label="test",
        )
        return [one.history[0][1] for one in results]

    assert losses(1) == losses(1)
    assert len({*losses(0), *losses(1)}) == 4


def test_seeds_differ_and_the_last_epoch_is_always_looked_at(tiny):
    test = TestSet.create(tiny.dataset.test_images, tiny.dataset.test_labels, 3)
    results = evaluate.evaluate(
        tiny.data.images,
        targets_of(tiny.data),
        test,
        trainer=Trainer(
            tiny.network,
            dataclasses.replace(RECIPE, epochs=5, learning_rate=1e-3),
            tiny.normaliser,
        ),
        seeds=range(4, 6),
        check_every=2,
        label="test",
    )
    assert [one.seed for one in results] == [4, 5]
    for one in results:
        assert [epoch for epoch, _, _ in one.history] == [2, 4, 5]
        # The test set is balanced.
        np.testing.assert_allclose(np.mean(one.by_class), one.last, atol=0.01)
    assert results[0].history != results[1].history


def test_groups_follow_the_training_counts_not_the_label_order():
    by_class = np.array([10.0, 20.0, 30.0, 40.0])
    groups = group_accuracies(by_class, (5, 500, 50, 100))
    assert groups == {"many": 20.0, "medium": 35.0, "few": 10.0}


def test_two_classes_have_no_medium_group():
    assert group_accuracies(np.array([80.0, 20.0]), (10, 1)) == {"many": 80.0, "few": 20.0}


def test_a_class_without_test_images_counts_nowhere(tiny):
    test = TestSet.create(np.zeros((4, 4, 4, 3), np.uint8), np.array([1, 1, 2, 2], np.int32), 3)
    network = constant_network(1, 3)
    overall, by_class = accuracy_by_class(network, jnp.float32(0), test, tiny.normaliser)
    assert overall == 50.0
    assert statistics.listed(by_class) == [None, 100.0, 0.0]
    assert group_accuracies(by_class, (9, 5, 1)) == {"medium": 100.0, "few": 0.0}
