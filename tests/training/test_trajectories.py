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
