"""Trajectories: the snapshots of a training in their order, kept and found again."""

import dataclasses

import jax
import numpy as np
import pytest

from csdm_jax.training import extractors, trajectories
from csdm_jax.training.trainer import Trainer
from tests.training.test_trainer import RECIPE

EPOCHS = 3


@pytest.mark.parametrize(("every", "length"), [(1, 4), (2, 3), (5, 2)])
def test_snapshots_go_from_the_initial_to_the_trained_weights(tiny, tmp_path, every, length):
    recipe = dataclasses.replace(RECIPE, epochs=EPOCHS)
    trainer = Trainer(tiny.network, recipe, tiny.normaliser, "loop")
    given = {"trainer": trainer, "data": tiny.data, "count": 2, "seed": 0}
    pool = extractors.ensure_pool(tmp_path, {}, network=tiny.network, **given)
    found = trajectories.ensure_trajectories(tmp_path, {}, every=every, **given)
    assert (found.size, found.length) == (2, length)
    assert trajectories.length(EPOCHS, every) == length
    like = trajectories.like(tiny.network, 2, length)
    assert jax.tree.map(np.shape, like) == jax.tree.map(np.shape, found)
    for number in range(2):
        for ends, at in ((pool.initial, 0), (pool.trained, length - 1)):
            own = jax.tree.map(lambda leaf, number=number: leaf[number], ends)
            jax.tree.map(np.testing.assert_array_equal, found.at(number, at), own)
    again = trajectories.ensure_trajectories(tmp_path, {}, every=every, **given | {"data": None})
    jax.tree.map(np.testing.assert_array_equal, again, found)  # nothing is trained again


def test_networks_whose_snapshots_are_kept_are_extractors_without_more_training(tiny, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=EPOCHS)
    trainer = Trainer(tiny.network, recipe, tiny.normaliser, "loop")
    given = {"trainer": trainer, "data": tiny.data, "count": 2, "seed": 0}
    alone = extractors.ensure_pool(tmp_path / "alone", {}, network=tiny.network, **given)
    trajectories.ensure_trajectories(tmp_path / "both", {}, every=2, **given)
    found = extractors.ensure_pool(
        tmp_path / "both", {}, network=tiny.network, **given | {"trainer": None, "data": None}
    )
    jax.tree.map(np.testing.assert_array_equal, found, alone)


def test_an_extractor_that_is_there_is_left_alone(tiny, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=EPOCHS)
    trainer = Trainer(tiny.network, recipe, tiny.normaliser, "loop")
    given = {"trainer": trainer, "data": tiny.data, "count": 1, "seed": 0}
    extractors.ensure_pool(tmp_path, {}, network=tiny.network, **given)
    (path,) = tmp_path.glob("*/network-00.msgpack")
    before = path.stat().st_mtime_ns
    trajectories.ensure_trajectories(tmp_path, {}, every=1, **given)
    assert path.stat().st_mtime_ns == before and path.with_name("description.json").exists()
