"""Views: kept for several steps, recomputed and never saved, and the same numbers as batches."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.distillation import views
from csdm_jax.distillation.loop import Cadence
from csdm_jax.distillation.methods.base import Views
from csdm_jax.distillation.methods.matching.matching import State
from csdm_jax.metric import unit_features
from csdm_jax.metric.ragged import Ragged
from tests.problem import rounds, tiny_loop

KEPT = {"views": 2, "view_uses": 3}
SMALL = {"augmentation": "flip", "form": ("pixels", 1)}


@pytest.mark.parametrize(("kept", "uses"), [(1, 4), (2, 3), (4, 2), (3, 5), (8, 32)])
def test_every_view_serves_as_often_as_asked_and_places_change_in_turn(kept, uses):
    plan = Views(None, kept, uses)
    numbers = [views.number(step, plan) for step in range(kept * uses * 4)]
    assert {number % kept for number in numbers} == set(range(kept))
    served = collections.Counter(numbers)
    inner = [number for number in served if kept <= number < max(numbers) - kept]
    assert {served[number] for number in inner} == {uses}
    fresh = [step for step, number in enumerate(numbers) if number not in numbers[:step]]
    steady = [step for step in fresh if step >= kept]
    each = [sum(first <= s < first + uses for s in steady)
            for first in range(kept, len(numbers) - uses, uses)]  # fmt: skip
    assert max(each) <= 2 and abs(np.mean(each) - 1) < 0.5


def test_a_view_of_one_use_is_the_step_itself():
    assert [views.number(step, Views(None, 5, 1)) for step in range(12)] == list(range(12))


def test_a_step_on_a_view_is_the_step_on_its_batch():
    (state, batch), (other, view) = (rounds(tiny_loop(**SMALL, **f), 1) for f in ({}, KEPT))
    for name in ("matching", "calibration", "gradient_norm"):
        np.testing.assert_allclose(batch.scalars[name], view.scalars[name], rtol=1e-5)
    assert np.mean(np.abs(state.stored["images"] - other.stored["images"])) < 1e-4


@pytest.mark.parametrize(
    ("name", "sdd"),
    [("csdm", {}), ("csdm", {"estimator": "exact"}), ("dm", {}), ("ncfm", {}), ("mmd", {})],
    ids=["csdm", "exact", "dm", "ncfm", "mmd"],
)
def test_what_a_view_keeps_gives_the_distance_and_its_gradient(name, sdd):
    method = tiny_loop(name=name, sdd=sdd).method
    keys = jax.random.split(jax.random.key(0), 3)
    classes, dim = jnp.arange(3), method._context.network.feature_dim
    real, synthetic = (
        Ragged(unit_features(jax.random.normal(key, (sum(sizes), dim)) + 1.0), sizes, classes)
        for key, sizes in zip(keys, ((8, 5, 1), (4, 4, 4)), strict=False)
    )

    def distance(rows, known):
        return method._distance(known, synthetic.with_values(rows), keys[2])[0]

    kept = method._summarise(real, keys[2])
    (value, gradient), (expected, slope) = (
        jax.value_and_grad(distance)(synthetic.values, known) for known in (kept, real)
    )
    # Features of a reference are kept in half precision.
    rtol = 0.02 if sdd or name == "mmd" else 1e-4
    np.testing.assert_allclose(value, expected, rtol=rtol)
    assert np.linalg.norm(gradient - slope) < rtol * np.linalg.norm(slope)


def test_data_are_read_for_new_views_alone():
    """Steps that read a view held give the same whatever the images are by then."""
    loop = tiny_loop(**SMALL, **KEPT)
    state, constants, _ = loop.begin(jax.random.key(0))
    start = loop.carry(state, constants)
    carry, _ = loop.stepper(start, constants, 0, 2)  # both places are filled
    held = jax.tree.map(jnp.copy, carry)
    black = constants._replace(images=jnp.zeros_like(constants.images))
    ends = [loop.stepper(c, given, 2, 3)[0] for c, given in ((carry, constants), (held, black))]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    drawn, other = (
        loop.stepper(jax.tree.map(jnp.copy, ends[0]), given, 5, 1)[0]
        for given in (constants, black)
    )
    assert not np.array_equal(drawn.state.stored["images"], other.state.stored["images"])


def test_images_on_the_host_give_the_same_bits():
    (resident, one), (streamed, other) = (
        rounds(tiny_loop(streamed=s, **SMALL, **KEPT), 9) for s in (False, True)
    )
    np.testing.assert_array_equal(resident.stored["images"], streamed.stored["images"])
    np.testing.assert_array_equal(one.loss, other.loss)


@pytest.mark.parametrize("streamed", [False, True], ids=["device", "host"])
def test_a_run_that_goes_on_makes_its_views_anew(tmp_path, streamed):
    ends = []
    for stops in ((9,), (4, 9)):
        folder = tmp_path / str(len(stops))
        for steps in stops:
            loop = tiny_loop(steps=steps, streamed=streamed, **SMALL, **KEPT)
            cadence = Cadence(log_every=2, checkpoint_every=2)
            found = loop.run(jax.random.key(0), cadence, folder=folder, identity={}, label="views")
        ends.append((found.state, (folder / "metrics.jsonl").read_bytes()))
        assert isinstance(found.state, State)  # without views
    jax.tree.map(np.testing.assert_array_equal, ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_after_a_rollback_views_are_of_the_other_key():
    loop = tiny_loop(**SMALL, **KEPT)
    ends = []
    for rollbacks in (0, 1):
        state, _, _ = loop.begin(jax.random.key(0))
        constants, _ = loop.reading(jax.random.key(0), rollbacks)
        carry, _ = loop.stepper(loop.carry(state, constants), constants, 0, 2)
        ends.append(carry.places[0].views.sample.cosine)
    assert not np.array_equal(*ends)


def test_some_classes_of_a_step_are_those_of_its_view():
    loop = tiny_loop(classes=6, classes_per_step=2, ipc=2, **SMALL, **KEPT)
    state, metrics = rounds(loop, 6)
    drawn = metrics.by_class["classes"]
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert len({tuple(row) for row in drawn.tolist()}) > 1
    assert np.isfinite(state.stored["images"]).all()
