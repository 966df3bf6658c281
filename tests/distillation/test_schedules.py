"""Schedules of extractors: what each needs, and every method of the family under any of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.distillation import methods
from csdm_jax.distillation.methods.matching import schedules
from csdm_jax.distillation.methods.matching.matching import Matching
from csdm_jax.distillation.needs import Pool
from csdm_jax.experiment import sketching
from csdm_jax.experiment.experiment import Experiment
from tests.distillation.test_rivals import QUEUE, configured, created, stepped
from tests.experiment.test_families import small

FIXED = {"idm": "queue", "tgdd": "trajectory", "cafe": "trained"}
MATCHING = [name for name in methods.METHODS if methods.family(name) == "matching"]


@pytest.mark.parametrize("name", MATCHING)
def test_a_method_is_supplied_with_what_its_schedule_and_its_start_read(name):
    kind = methods.kind(name)
    pooled = {"csdm", "csdm_single", "mmd", "ncfm"}  # they settle a scale by its features
    for asked, schedule in schedules.SCHEDULES.items():
        own = schedules.SCHEDULES[FIXED[name]].needs if name in FIXED else schedule.needs
        for start in ("random", "kmeans"):
            config = configured(extractor=asked, initialisation=start)
            pool = (Pool(),) if name in pooled or start == "kmeans" else ()
            assert kind.needed(config) == (*own, *(one for one in pool if one not in own))
            methods.check(name, config)
        fields = {"queue": "idm.queue", "trajectory": "tgdd.window"}
        read = kind.read(configured(extractor=asked))
        expected = {fields[one] for one in (FIXED.get(name, asked),) if one in fields}
        assert read & {*fields.values()} == expected


@pytest.mark.parametrize(("name", "asked"), [("idm", "queue"), ("tgdd", "trajectory")])
def test_idm_and_tgdd_are_dm_under_a_schedule(name, asked):
    one, other = created(name), created("dm", extractor=asked)
    assert type(one) is type(other) is Matching and type(one.schedule) is type(other.schedule)
    assert (one._distance, one._summarise) == (other._distance, other._summarise)
    assert [phase.times for phase in one.phases] == [phase.times for phase in other.phases]


def test_a_method_with_a_memory_keeps_it_beside_the_queue():
    loop, state, given, (match, train) = stepped("dsdm", QUEUE, extractor="queue")
    before = jax.device_get(state)
    state, _ = match(state, given)
    assert state.memory.steps == 1
    jax.tree.map(np.testing.assert_array_equal, state.queue, before.queue)
    state, metrics = train(state, given._replace(batch=given.batch.with_values(
        jnp.zeros((QUEUE["idm.batch"], 8, 8, 3), jnp.uint8))))  # fmt: skip
    assert state.memory.steps == 1 and state.queue.pushed == metrics.scalars["queue_pushed"] == 4
    assert [phase.times for phase in loop.method.phases] == [1, 6]
    sampler = created("ncfm_sampler", QUEUE, extractor="queue")
    assert [phase.times for phase in sampler.phases] == [1, 1, 6]  # both read the same networks


def test_views_are_kept_unless_extractors_change():
    kept = {
        name: created("dm", extractor=name, view_uses=2).phases[0].views is not None
        for name in schedules.SCHEDULES
    }
    assert kept == dict.fromkeys(kept, True) | {"queue": False}


def test_what_a_run_depends_on_names_the_fields_of_its_own_schedule(tmp_path):
    def identity(**fields):
        given = {f"distill.{name}": value for name, value in fields.items()}
        return Experiment(small("dm", **given), tmp_path).identity("dm", 0)

    assert not {"idm.queue", "tgdd.window"} & identity().keys()
    assert {"idm.queue", "tgdd.window"} & identity(extractor="queue").keys() == {"idm.queue"}


@pytest.mark.parametrize("asked", ["trajectory", "queue"])
def test_sketches_are_of_a_pool_alone(asked, tmp_path):
    config = small("dm", **{"distill.extractor": asked})
    rule = rf"distill.extractor = '{asked}': sketches are of .*: choose blended, trained or fresh"
    with pytest.raises(ValueError, match=rule):
        sketching.write(config, tmp_path / "work", tmp_path / "out.npz")
