"""Matching with parameterisations whose classes share what is stored."""

import dataclasses

import jax
import numpy as np
import pytest

from csdm_jax.distillation.starts import realism
from csdm_jax.sets import distilled
from tests.problem import rounds, tiny_loop

CARD = {"method": "csdm"}
FIXED = {"fred": ["mask"], "nsd": []}


def loop_of(form, **fields):
    fields = {"classes": 4, "classes_per_step": 2, "weight_decay": 0.1} | fields
    return tiny_loop(form=(form, 2), parameterisation=form, **fields)


@pytest.mark.parametrize("form", FIXED)
def test_a_step_of_some_classes_moves_all_that_these_share_and_no_more(form, tmp_path):
    loop = loop_of(form)
    start = loop.method.result(loop.begin(jax.random.key(0))[0])
    state, metrics = rounds(loop, 1)
    made, drawn = loop.method.result(state), np.asarray(metrics.by_class["classes"][0])
    assert sorted(drawn) == sorted(set(drawn)) and len(drawn) == 2
    for name, array in made.stored.items():
        moved = np.abs(array - start.stored[name]).reshape(4, -1).max(axis=1) > 0
        assert list(np.flatnonzero(moved)) == ([] if name in FIXED[form] else sorted(drawn)), name
    distilled.save(tmp_path, made, CARD)
    read, _ = distilled.load(tmp_path)
    np.testing.assert_array_equal(read.images, made.images)
    assert made.images.shape == (4 * 2 * 4, 8, 8, 3) and read.training_data()[1].shape == (32, 4)
    assert made.images.min() >= 0 and made.images.max() <= 1


@pytest.mark.parametrize("name", ["dc", "frepo", "rldd", "mtt", "lad"])
def test_other_families_take_steps_on_what_classes_share(name):
    loop = tiny_loop(name=name, form=("nsd", 2), parameterisation="nsd")
    state, constants, feeds = loop.begin(jax.random.key(0))
    assert sorted(state.stored) == ["left", "right", "tensors"]
    for phase, feed in zip(loop.stepper.phases, feeds, strict=True):
        given = constants if feed is None else (constants, feed(0))
        found, _ = jax.eval_shape(phase.step, state, given, np.int32(0))
        assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, state)


def test_crops_are_scored_as_they_are_where_classes_share(monkeypatch):
    context = loop_of("fred").method._context
    seen = []

    def outputs(context, params, images, count):
        seen.append(np.asarray(images(np.arange(count))))
        return np.zeros((count, 4)), None

    monkeypatch.setattr(realism, "outputs", outputs)
    monkeypatch.setattr(realism, "each", lambda trained: [None])
    pool = dataclasses.make_dataclass("Pool", ["trained"])(None)
    realism.images(context, 4, jax.random.key(0), pool)
    assert seen[0].shape == (realism.CROPS * sum(context.counts), 8, 8, 3)
