import json
import shutil
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import pytest

from csdm_jax.storage import files
from csdm_jax.storage.checkpoints import Checkpoints
from tests.faults.damage import KINDS, regular_files


class State(NamedTuple):
    images: jax.Array
    moments: dict
    key: jax.Array


def state(value=1.0):
    images = jnp.arange(24, dtype=jnp.float32).reshape(2, 3, 4) * value
    moments = {"mu": images / 3, "count": jnp.int32(7), "half": jnp.bfloat16(value)}
    return State(images, moments, jax.random.key(3))


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def store(tmp_path, *, keep=3, identity=None):
    return Checkpoints(tmp_path / "c", identity=identity or {"ipc": 1}, keep=keep)


def fill(tmp_path, steps=(5, 10), **options):
    checkpoints = store(tmp_path, **options)
    for step in steps:
        checkpoints.save(step, state(step), facts={"at": step})
    return checkpoints


def test_a_state_comes_back_bit_for_bit(tmp_path):
    found = fill(tmp_path).latest(shapes(state()))
    assert (found.step, found.facts) == (10, {"at": 10})
    assert isinstance(found.state, State)
    assert found.state.moments["half"].dtype == jnp.bfloat16
    expected = state(10)
    chex.assert_trees_all_equal(found.state[:2], expected[:2])
    assert jax.random.uniform(found.state.key) == jax.random.uniform(expected.key)


def test_an_empty_folder_has_none(tmp_path):
    assert store(tmp_path).latest(shapes(state())) is None


def test_the_newest_stay(tmp_path):
    assert fill(tmp_path, (1, 2, 9, 10, 11), keep=2).steps() == [10, 11]


@pytest.mark.parametrize("kind", KINDS)
def test_every_damaged_file_leads_to_the_checkpoint_before(tmp_path, kind):
    checkpoints = fill(tmp_path)
    for number in range(len(regular_files(tmp_path / "c/10"))):
        found = regular_files(tmp_path / "c/10")  # a save may make one file more than another
        path = found[min(number, len(found) - 1)]
        if kind in ("flip", "delete") or path.stat().st_size:  # nothing to take from an empty file
            KINDS[kind](path)
            found = checkpoints.latest(shapes(state()))
            assert found is not None and found.step == 5, path
            chex.assert_trees_all_equal(found.state.images, state(5).images)
            checkpoints.save(10, state(10), facts={})


def test_a_file_too_many_is_damage(tmp_path):
    checkpoints = fill(tmp_path)
    (tmp_path / "c/10/state/extra").write_text("?")
    assert checkpoints.latest(shapes(state())).step == 5
    assert (tmp_path / "c/10.damaged-0").is_dir()


def test_a_checkpoint_under_another_step_is_damage(tmp_path):
    checkpoints = fill(tmp_path)
    (tmp_path / "c/10").rename(tmp_path / "c/20")
    assert checkpoints.latest(shapes(state())).step == 5


def test_another_configuration_is_refused(tmp_path):
    fill(tmp_path)
    with pytest.raises(ValueError, match=r"belongs to another .*\(ipc\).*another workdir"):
        store(tmp_path, identity={"ipc": 2}).latest(shapes(state()))
    assert store(tmp_path).steps() == [5, 10]


def test_another_format_is_refused(tmp_path):
    checkpoints = fill(tmp_path)
    path = tmp_path / "c/10/manifest.json"
    manifest = json.loads(path.read_text()) | {"format": 99}
    del manifest["sha256"]
    files.write_sealed_json(path, manifest)
    with pytest.raises(ValueError, match="has format 99, this version reads 2"):
        checkpoints.latest(shapes(state()))


def test_a_failed_save_leaves_the_older_ones(tmp_path, monkeypatch):
    checkpoints = fill(tmp_path)

    def full(*arguments, **options):
        raise RuntimeError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", full)
    with pytest.raises(OSError, match=r"cannot write the checkpoint .*15.*No space left"):
        checkpoints.save(15, state(), facts={})
    assert checkpoints.steps() == [5, 10]
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["10", "5"]


def test_a_checkpoint_that_will_not_fit_is_not_begun(tmp_path, monkeypatch):
    checkpoints = fill(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"no space for a checkpoint .* 1000 bytes are free, about"):
        checkpoints.save(15, state(), facts={})
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["10", "5"]


def test_a_checkpoint_whose_facts_are_not_accepted_is_set_aside(tmp_path):
    def accept(facts):
        if facts["at"] == 10:
            raise files.DamagedError("what it speaks of is gone")

    assert fill(tmp_path).latest(shapes(state()), accept).step == 5
    assert (tmp_path / "c/10.damaged-0").is_dir()
