"""Experts: every step of their training against NumPy, and their files."""

import dataclasses
import itertools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.augment import Augmentation
from csdm_jax.data.device import to_device
from csdm_jax.networks import last_layer
from csdm_jax.runtime.seeds import root_key
from csdm_jax.training import balanced, experts, extractors, trajectories
from csdm_jax.training.trainer import Recipe, Trainer
from tests import small
from tests.small import BACKBONE, COUNTS, NETWORK, SIZE, descent

RATE, EPOCHS, MORE = 0.5, 3, 2
RECIPE = Recipe(EPOCHS, 9, "sgd", RATE, 0.0, 0.0, (), 0.1, Augmentation(), 0.0)
FLAT = dataclasses.replace(RECIPE, sharpness=0.3, surrogate_gap=0.7, weight_decay=0.1)


def ensured(folder, recipe=RECIPE, *, data=None, count=2, more=0):
    trainer = Trainer(NETWORK, recipe, small.NORMALISER, "loop")
    data = to_device(small.host()) if data is None else data
    return experts.ensure_experts(
        folder, {}, trainer=trainer, data=data, count=count, seed=0, classifier_epochs=more
    )


def gradient(theta, rows=None):
    """Of the cross-entropy of some training images."""
    host = small.host()
    rows = np.arange(len(host)) if rows is None else rows
    return descent(theta, host.images[rows] / 255, np.eye(3)[host.labels[rows]])


def gsam(theta):
    g = gradient(theta)
    h = gradient(theta + 0.3 * theta**2 * g / np.linalg.norm(theta * g))
    along = g @ h / np.linalg.norm(h) ** 2
    return h - 0.7 * (g - along * h) + 0.1 * theta


@pytest.mark.parametrize(("recipe", "direction"), [(RECIPE, gradient), (FLAT, gsam)])
def test_snapshots_are_steps_of_numpy(tmp_path, recipe, direction):
    found = ensured(tmp_path, recipe)
    assert (found.size, found.epochs) == (2, EPOCHS)
    assert not np.array_equal(found.at(0, 0), found.at(1, 0))
    for rows in found.rows:
        assert isinstance(rows, np.memmap) and rows.shape == (1 + EPOCHS, SIZE)
        for before, after in itertools.pairwise(rows):  # an epoch is one batch
            expected = before - RATE * direction(np.float64(before))
            np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-6)
            assert np.abs(after - before).max() > 1e-3
    params = experts.unraveller(NETWORK)(jnp.asarray(found.at(0, 1)))
    np.testing.assert_array_equal(experts.flat(params), found.at(0, 1))


def test_a_second_stage_trains_the_classifier_on_classes_in_equal_parts(tmp_path):
    rows = ensured(tmp_path / "device", more=MORE, count=1).rows[0]
    assert len(rows) == 1 + EPOCHS + MORE
    np.testing.assert_array_equal(rows[EPOCHS:, BACKBONE], [rows[EPOCHS, BACKBONE]] * (1 + MORE))
    trainer = Trainer(NETWORK, RECIPE, small.NORMALISER)
    options = {"epochs": MORE, "learning_rate": RATE, "seed": 7}
    stage = balanced.SecondStage(trainer, small.host(), **options)
    key = jax.random.fold_in(root_key("classifiers", 7), 5)
    drawn = np.array([stage._rows(key, jnp.int32(k)) for k in range(40)])
    labels = small.host().labels[drawn]
    np.testing.assert_array_equal(labels, np.tile(np.repeat(np.arange(3), 3), (40, 1)))
    assert set(drawn.ravel()) == set(range(sum(COUNTS))) and stage._steps == 2
    start = experts.unraveller(NETWORK)(jnp.asarray(rows[EPOCHS]))
    theta, fitted = np.float64(rows[EPOCHS]), [*map(experts.flat, stage.fit(5, start, ""))]
    for number in range(2 * MORE):
        theta = theta - RATE * ~BACKBONE * gradient(theta, drawn[number])
        if number % 2:
            np.testing.assert_allclose(fitted[number // 2], theta, rtol=1e-4, atol=1e-6)
    on_device = balanced.SecondStage(trainer, to_device(small.host()), **options).fit(5, start, "")
    np.testing.assert_allclose(experts.flat(on_device[0]), fitted[0], rtol=1e-5, atol=1e-6)


def test_extractors_and_snapshots_end_with_the_second_stage(tmp_path):
    trainer, data = Trainer(NETWORK, RECIPE, small.NORMALISER, "loop"), to_device(small.host())
    second = balanced.SecondStage(trainer, data, epochs=MORE, learning_rate=RATE, seed=0)
    given = {"trainer": trainer, "data": data, "count": 2, "seed": 0}
    plain = extractors.ensure_pool(tmp_path, {}, network=NETWORK, **given)
    pool = extractors.ensure_pool(tmp_path, {"two": 1}, network=NETWORK, second=second, **given)
    paths = trajectories.ensure_trajectories(tmp_path, {"two": 1}, every=1, second=second, **given)
    for k in range(2):
        before, after, last = (
            jax.tree.map(lambda leaf, k=k: leaf[k], one)
            for one in (plain.trained, pool.trained, paths.snapshots)
        )
        expected = second.fit(k, before, "")[-1]
        jax.tree.map(np.testing.assert_array_equal, after, expected)
        np.testing.assert_array_equal(after["hidden"], before["hidden"])
        assert np.abs(after["last"] - before["last"]).max() > 1e-3
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[EPOCHS], b), last, after)


def test_the_last_layer_is_what_features_do_not_depend_on():
    assert last_layer(NETWORK) == {"hidden": False, "last": True}
    compiled = dataclasses.replace(NETWORK, apply=jax.jit(NETWORK.apply))
    with pytest.raises(ValueError, match="depend on all its parameters"):
        last_layer(compiled)


def test_what_is_there_is_not_trained_again_and_damage_is_noticed(tmp_path, monkeypatch, caplog):
    trained = []
    fit_many = Trainer.fit_many

    def counted(self, keys, *args, **options):
        trained.append(len(keys))
        return fit_many(self, keys, *args, **options)

    monkeypatch.setattr(Trainer, "fit_many", counted)
    whole = [np.array(rows) for rows in ensured(tmp_path).rows]
    ensured(tmp_path)
    assert trained == [2]
    (first,) = tmp_path.glob("*/network-00.npy")
    (other,) = tmp_path.glob("*/network-01.npy")
    spoilt = bytearray(first.read_bytes())
    spoilt[-3] ^= 1
    first.write_bytes(spoilt)
    other.with_suffix(".json").unlink()  # stopped before the seal
    again = ensured(tmp_path)
    assert trained == [2, 2] and first.with_name("network-00.npy.damaged-0").exists()
    assert "is not the file that its seal describes" in caplog.text
    np.testing.assert_array_equal(again.rows, whole)
    assert ensured(tmp_path, count=3).size == 3 and trained == [2, 2, 1]


def test_no_expert_is_trained_where_there_is_no_room(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    needed = 2 * (1 + EPOCHS) * SIZE * 4
    with pytest.raises(OSError, match=rf"2 experts, 4 snapshots .* take {needed} bytes, and 100 "):
        ensured(tmp_path)
    assert not list(tmp_path.rglob("network-*"))
