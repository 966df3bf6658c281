"""The loop: resume at every step, bad numbers at every place."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from csdm_jax.distillation import loop as loop_module
from csdm_jax.distillation.loop import Cadence
from csdm_jax.runtime import interruption
from csdm_jax.sets import snapshots
from tests.faults.damage import delete, regular_files
from tests.faults.poison import SITES, poisoned
from tests.problem import make_loop, tiny_config
from tests.storage import test_events

STEPS = 7
CADENCE = Cadence(log_every=2, checkpoint_every=3)


@pytest.fixture(scope="module")
def loop(tiny):
    config = tiny_config(steps=STEPS)
    config.sdd.num_frequencies = 16
    return make_loop("csdm", config, tiny.host, tiny.network, tiny.normaliser, form=("pixels", 1))


def run(loop, folder, *, cadence=CADENCE, seed=0):
    finished = loop.run(
        jax.random.key(seed), cadence, folder=folder, identity={"seed": seed}, label="tiny"
    )
    return np.asarray(finished.state.stored["images"]).tobytes(), (
        folder / "metrics.jsonl"
    ).read_bytes()


def looks(folder):
    """The bytes of the snapshots by name."""
    return {path.name: path.read_bytes() for path in (folder / "snapshots").iterdir()}


@pytest.fixture(scope="module")
def unbroken_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("unbroken")


@pytest.fixture(scope="module")
def unbroken(loop, unbroken_folder):
    return run(loop, unbroken_folder)


class PowerCutError(Exception):
    """The process is gone."""


def cut_after(loop, steps, monkeypatch):
    """Ends the loop in the middle of a chunk, after a number of steps in all."""
    whole = loop.stepper

    class Broken:
        left = steps

        def __getattr__(self, name):
            return getattr(whole, name)

        def __call__(self, state, constants, first, count, feeds):
            result = whole(state, constants, first, min(count, self.left), feeds=feeds)
            if count >= self.left:
                raise PowerCutError
            self.left -= count
            return result

    monkeypatch.setattr(loop, "stepper", Broken())


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_a_run_cut_at_any_step_ends_in_the_same_bytes(
    loop, unbroken, unbroken_folder, stop, tmp_path
):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerCutError):
        cut_after(loop, stop, patch)
        run(loop, tmp_path)
    assert run(loop, tmp_path) == unbroken
    assert looks(tmp_path) == looks(unbroken_folder)


def test_snapshots_are_of_the_images_along_the_run(loop, unbroken, unbroken_folder, tiny):
    found = snapshots.read(unbroken_folder, STEPS)
    assert [one.step for one in found] == [0, 2, 4]
    first = loop.method.result(loop.begin(jax.random.key(0))[0])
    order = np.argsort(-np.array(tiny.host.counts), kind="stable")
    np.testing.assert_array_equal(found[0].labels, np.repeat(order, 2))
    expected = np.concatenate([first.of_class(label) for label in order])
    np.testing.assert_array_equal(found[0].images, np.rint(expected * 255).astype(np.uint8))
    assert (found[0].images != found[-1].images).any()


def test_snapshots_of_another_run_do_not_stay(loop, unbroken_folder, unbroken, tmp_path):
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "00000001.npz").write_bytes(b"")
    run(loop, tmp_path)
    assert looks(tmp_path) == looks(unbroken_folder)


def test_events_are_the_metrics_whether_the_run_was_cut_or_not(loop, unbroken, tmp_path):
    cadence = dataclasses.replace(CADENCE, tensorboard=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerCutError):
        cut_after(loop, 5, patch)
        run(loop, tmp_path, cadence=cadence)
    assert run(loop, tmp_path, cadence=cadence) == unbroken
    rows = list(map(json.loads, unbroken[1].splitlines()))
    assert test_events.read(tmp_path / "tensorboard") == test_events.expected(rows)


def test_metrics_have_every_step_once(unbroken):
    rows = [json.loads(line) for line in unbroken[1].splitlines()]
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert "finite" not in rows[0]


def test_another_seed_gives_other_bytes(loop, unbroken, tmp_path):
    images, metrics = run(loop, tmp_path, seed=1)
    assert images != unbroken[0] and metrics != unbroken[1]


def test_how_often_is_logged_and_saved_changes_nothing(loop, unbroken, tmp_path):
    assert run(loop, tmp_path, cadence=Cadence(log_every=100, checkpoint_every=100)) == unbroken


def test_a_finished_run_takes_no_step(loop, unbroken, tmp_path, monkeypatch):
    run(loop, tmp_path)
    monkeypatch.setattr(loop, "stepper", None)
    assert run(loop, tmp_path) == unbroken


def test_a_longer_run_goes_on_from_a_finished_one(loop, unbroken, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.method, "steps", 5)
    run(loop, tmp_path)
    monkeypatch.setattr(loop.method, "steps", STEPS)
    assert run(loop, tmp_path) == unbroken


def test_a_shorter_run_than_was_done_is_refused(loop, tmp_path, monkeypatch):
    run(loop, tmp_path)
    monkeypatch.setattr(loop.method, "steps", 5)
    with pytest.raises(ValueError, match=r"done 7 steps already, config.distill.steps is 5"):
        run(loop, tmp_path)


def test_a_signal_saves_the_step_and_the_run_goes_on(loop, unbroken, tmp_path, monkeypatch):
    asked = iter([False, True])
    monkeypatch.setattr(loop_module, "requested", lambda: next(asked))
    with pytest.raises(interruption.Interrupted, match="after step 3, which is saved"):
        run(loop, tmp_path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.glob("checkpoints/[0-9]*")] == ["3"]
    assert run(loop, tmp_path) == unbroken


def test_time_and_memory_are_said_after_the_first_steps(loop, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        loop_module.logging, "info", lambda text, *values: said.append(text % values)
    )
    run(loop, tmp_path)
    (first,) = [line for line in said if "s a step, about" in line]
    assert "for the 5 steps left; peak memory about" in first
    assert any(line.endswith(" expected") for line in said)


def test_a_step_is_timed_without_what_compiles_it(loop, monkeypatch):
    """On a clock that the steps move: 100 s for the first call, 2 s for each step after it."""
    now, rounds = [0.0], []

    def stepper(carry, constants, first, count, feeds):
        assert first == sum(rounds)
        now[0] += 2.0 * count if rounds else 100.0
        rounds.append(count)
        return carry, ()

    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])
    stepper.strategy = "loop"
    monkeypatch.setattr(loop, "stepper", stepper)
    monkeypatch.setattr(loop_module, "MEASURED", 10.0)
    assert loop.seconds_a_step(jax.random.key(0)) == pytest.approx(2.0)
    assert sum(rounds[1:]) >= 5 and set(rounds) == {loop_module.AT_ONCE["loop"]}
    rounds.clear()
    monkeypatch.setattr(loop_module, "requested", lambda: True)
    with pytest.raises(interruption.Interrupted, match="while steps were timed"):
        loop.seconds_a_step(jax.random.key(0))


def test_steps_of_a_method_are_timed_and_the_run_is_as_without(
    loop, unbroken, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop_module, "MEASURED", 0.01)
    assert 0 < loop.seconds_a_step(jax.random.key(0)) < 60
    assert run(loop, tmp_path) == unbroken


def test_steps_that_fill_the_places_of_views_are_not_timed(tiny, monkeypatch):
    config = tiny_config(steps=STEPS)
    config.update_from_flattened_dict({"distill.views": 7, "distill.view_uses": 4})
    loop = make_loop("dm", config, tiny.host, tiny.network, tiny.normaliser, form=("pixels", 1))
    now, made = [0.0], [0]

    def stepper(carry, constants, first, count, feeds):
        now[0] += sum(100.0 if step < 7 else 1.0 for step in range(first, first + count))
        made[0] += count
        return carry, ()

    stepper.strategy = "loop"
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(loop, "stepper", stepper)
    assert loop.seconds_a_step(jax.random.key(0)) == pytest.approx(1.0)
    assert made[0] % 4 == 0


def test_without_any_valid_checkpoint_the_run_begins_again(loop, unbroken, tmp_path):
    run(loop, tmp_path)
    for manifest in tmp_path.rglob("manifest.json"):
        delete(manifest)
    assert run(loop, tmp_path) == unbroken


def test_a_lost_metrics_file_is_restored(loop, unbroken, tmp_path, monkeypatch):
    run(loop, tmp_path)
    (tmp_path / "metrics.jsonl").write_text("nonsense")
    monkeypatch.setattr(loop, "stepper", None)  # no step is taken again
    assert run(loop, tmp_path) == unbroken


def test_metrics_lost_in_both_places_cost_the_steps_since_they_were_whole(loop, unbroken, tmp_path):
    run(loop, tmp_path)
    for path in (tmp_path / "metrics.jsonl", tmp_path / "checkpoints" / "metrics.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: STEPS - 1]))  # one row of the last step is gone
    assert run(loop, tmp_path) == unbroken
    names = {path.name for path in tmp_path.glob("checkpoints/[0-9]*")}
    assert names == {f"{STEPS}.damaged-0", str(STEPS), "6"}


def test_a_checkpoint_takes_as_much_late_in_a_run_as_early(loop, tmp_path):
    run(loop, tmp_path, cadence=Cadence(log_every=1, checkpoint_every=1, keep_checkpoints=STEPS))
    held = [path.name for path in (tmp_path / "checkpoints" / str(STEPS)).iterdir()]
    assert sorted(held) == ["manifest.json", "state"]
    sizes = []
    for step in (1, STEPS):
        manifest = json.loads((tmp_path / "checkpoints" / str(step) / "manifest.json").read_text())
        del manifest["files"]  # of the state; a loaded machine cuts it into more of them
        sizes.append(len(json.dumps(manifest)))
    assert abs(sizes[1] - sizes[0]) < 60  # digits of numbers, no rows


@pytest.mark.parametrize("site", SITES)
def test_a_nan_stops_the_run_with_its_step_and_place(loop, site, tmp_path):
    bad = poisoned(loop, site, 4)
    with pytest.raises(FloatingPointError, match=f"tiny: {site} not finite at step 4; the last"):
        run(bad, tmp_path)
    assert [p.name for p in tmp_path.glob("checkpoints/[0-9]*")] == ["3"]
    rows = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in rows and len(rows.splitlines()) == 4


@pytest.mark.parametrize("site", SITES)
def test_a_run_goes_on_from_the_checkpoint_before_a_nan(loop, unbroken, site, tmp_path):
    with pytest.raises(FloatingPointError):
        run(poisoned(loop, site, 4), tmp_path)
    _, metrics = run(loop, tmp_path)  # the cause is mended
    rows, expected = ([json.loads(r) for r in m.splitlines()] for m in (metrics, unbroken[1]))
    assert [row["step"] for row in rows] == list(range(STEPS))
    # The poisoned program rounds otherwise, so its first steps agree in all but the last digits.
    losses = [[row["loss"] for row in side] for side in (rows, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_rollback_draws_other_numbers_and_finishes(loop, unbroken, tmp_path):
    run_key = jax.random.split(jax.random.key(0))[1]
    unlucky = jax.random.key_data(jax.random.fold_in(run_key, 4))
    cadence = Cadence(log_every=2, checkpoint_every=3, on_nonfinite="rollback")
    images, metrics = run(poisoned(loop, "loss", unlucky), tmp_path, cadence=cadence)
    rows, before = ([json.loads(row) for row in m.splitlines()] for m in (metrics, unbroken[1]))
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert rows[:3] == before[:3] and rows[3]["loss"] != before[3]["loss"]
    assert images != unbroken[0]
    again = run(loop, tmp_path / "again", cadence=cadence)
    assert again == unbroken  # without a NaN the policy changes nothing


def test_rollback_gives_up(loop, tmp_path):
    cadence = Cadence(log_every=2, checkpoint_every=3, on_nonfinite="rollback")
    with pytest.raises(FloatingPointError, match="gradient not finite at step 0"):
        run(poisoned(loop, "gradient", None), tmp_path, cadence=cadence)


def test_a_damaged_checkpoint_costs_only_its_steps(loop, unbroken, tmp_path):
    run(loop, tmp_path)
    newest = tmp_path / "checkpoints" / str(STEPS)
    delete(regular_files(newest / "state")[0])
    assert run(loop, tmp_path) == unbroken
    assert (tmp_path / "checkpoints" / f"{STEPS}.damaged-0").exists()
