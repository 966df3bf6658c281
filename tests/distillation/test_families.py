"""One suite for every method: by being registered, or by being a toy of its family, it is tested.

Resume, images on the host, several devices, numbers that are not finite, some of the classes.
"""

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.distillation import methods
from csdm_jax.distillation.loop import Cadence, Loop
from csdm_jax.experiment import config as configuration
from csdm_jax.parameterisations import PARAMETERISATIONS
from csdm_jax.runtime.stepping import Phases
from tests.distillation.families import FAMILIES, VARIANTS, Waves
from tests.faults.runs import ROOT
from tests.flags import devices_flags
from tests.problem import rounds, tiny_loop

small_loop = functools.partial(tiny_loop, small=True, augmentation="flip")
"""A network and an augmentation that compile in no time: test_sharding has a ConvNet."""
NAMES = [name for name in (*methods.METHODS, *FAMILIES) if name not in VARIANTS]
SELECTING = [n for n in methods.METHODS if methods.family(n) == "selection"]
STEPPING = [name for name in NAMES if name not in (*SELECTING, "toy_selection")]
REMEMBERING = ("cafe", "dsdm", "idm", "ncfm_sampler")
"""Variants whose state holds more than images and moments."""
OTHERS = [*(name for name in STEPPING if name not in ("csdm", "dm")), *REMEMBERING]
"""Those that test_sharding does not run on several devices."""
CADENCE = Cadence(log_every=2, checkpoint_every=2)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for name, kind in FAMILIES.items():
        monkeypatch.setitem(methods.METHODS, name, kind)
    monkeypatch.setitem(PARAMETERISATIONS, "waves", lambda factor: Waves())


def run(loop, folder):
    finished = loop.run(jax.random.key(3), CADENCE, folder=folder, identity={}, label="tiny")
    made = loop.method.result(finished.state)
    arrays = {**made.stored, "labels": made.labels, "lr": np.array(made.lr or 0.0)}
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_to_the_same_bytes(name, tmp_path, monkeypatch):
    loop = small_loop(name=name, steps=5)
    whole = run(loop, tmp_path / "whole")
    if loop.method.phases:
        monkeypatch.setattr(loop.method, "steps", 3)
        part = run(loop, tmp_path / "part")
        assert part != whole
        monkeypatch.setattr(loop.method, "steps", 5)
    assert run(loop, tmp_path / "part") == whole
    metrics = [(tmp_path / one / "metrics.jsonl").read_text() for one in ("whole", "part")]
    assert metrics[0] == metrics[1]
    assert len(metrics[0].splitlines()) == loop.method.steps


@pytest.mark.parametrize("name", STEPPING)
def test_images_on_the_host_give_the_same_bits(name):
    ends = [rounds(small_loop(name=name, streamed=streamed), 2) for streamed in (False, True)]
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", STEPPING)
def test_loop_and_scan_agree(name):
    ends = []
    for strategy in ("loop", "scan"):
        loop = small_loop(name=name)
        loop.stepper = Phases(loop.stepper.phases, strategy=strategy)
        ends.append(rounds(loop, 2))
    (state, metrics), (scanned, others) = ends
    np.testing.assert_allclose(metrics.loss, others.loss, rtol=2e-3)
    assert metrics.loss.shape == (2,) and metrics.scalars.keys() == others.scalars.keys()
    images = [s.stored["images"] for s in (state, scanned)]
    # Adam turns a gradient that is zero but for rounding into a whole step: hence the mean.
    assert np.mean(np.abs(images[0] - images[1])) < 1e-4


@pytest.mark.parametrize("name", STEPPING)
def test_a_number_that_is_not_finite_stops_the_run(name, tmp_path):
    loop = small_loop(name=name)

    def spoilt(key, supplied):
        state = type(loop.method).init(loop.method, key, supplied)
        return state._replace(stored=jax.tree.map(lambda leaf: leaf * jnp.nan, state.stored))

    loop.method.init = spoilt
    with pytest.raises(FloatingPointError, match="not finite at step 0"):
        run(Loop(loop.method, loop.data, loop.supplied), tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("name", STEPPING)
def test_a_step_of_some_classes_moves_those_alone(name, tmp_path):
    loop = small_loop(name=name, classes=4, classes_per_step=2, calibration=0.0, steps=1)
    before = loop.method.result(loop.begin(jax.random.key(3))[0]).images
    finished = loop.run(jax.random.key(3), CADENCE, folder=tmp_path, identity={}, label="tiny")
    after = loop.method.result(finished.state).images
    moved = np.abs(after - before).reshape(4, -1).max(1) > 0
    assert 1 <= moved.sum() <= 2


@pytest.mark.parametrize("name", STEPPING)
def test_after_a_rollback_steps_keep_their_numbers_and_draw_anew(name, tmp_path):
    loop = small_loop(name=name, steps=5)
    method, (first, *others) = loop.method, loop.method.phases
    run_key = jax.random.split(jax.random.key(3))[1]
    plain = jax.random.key_data(jax.random.fold_in(run_key, 3 * first.times))

    def step(state, inputs):
        state, metrics = first.step(state, inputs)
        unlucky = jnp.all(jax.random.key_data(inputs.key) == plain)  # step 3, the first time
        loss = jnp.where(unlucky, jnp.nan, metrics.loss)
        scalars = metrics.scalars | {"number": inputs.number // first.times}
        return state, metrics._replace(loss=loss, scalars=scalars)

    method.phases = (first._replace(step=step), *others)
    rollback = dataclasses.replace(CADENCE, on_nonfinite="rollback")
    spoilt = Loop(method, loop.data, loop.supplied)
    done = spoilt.run(jax.random.key(3), rollback, folder=tmp_path, identity={}, label="tiny")
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert done.rollbacks == 1 and [row["number"] for row in rows] == list(range(5))


ON_DEVICES = """
import json
import jax, numpy as np
from jax.sharding import Mesh
from csdm_jax.distillation import methods
from csdm_jax.runtime.sharding import AXIS, Devices
from tests.distillation.families import FAMILIES
from tests.distillation.test_families import OTHERS, small_loop
from tests.flags import devices_flags
from tests.problem import rounds
methods.METHODS.update(FAMILIES)
found = {}
for name in OTHERS:
    found[name] = []
    for count in (1, 2):
        devices = Devices(Mesh(np.array(jax.devices()[:count]), (AXIS,)) if count > 1 else None)
        state, metrics = rounds(small_loop(name=name, devices=devices), 2)
        assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(state)), name
        found[name].append([metrics.loss.tolist(), np.asarray(state.stored["images"]).tolist()])
print(json.dumps(found))
"""


def test_two_devices_give_the_result_of_one():
    env = os.environ | {"XLA_FLAGS": devices_flags(2)}
    command = [sys.executable, "-c", ON_DEVICES]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == OTHERS
    for name, ((loss, images), (other_loss, other_images)) in found.items():
        np.testing.assert_allclose(other_loss, loss, rtol=2e-3, err_msg=name)
        assert np.mean(np.abs(np.array(other_images) - images)) < 1e-4, name


@pytest.mark.parametrize("name", STEPPING)
def test_coefficients_of_another_shape_can_be_distilled(name):
    config = {"parameterisation": "waves"}
    loop = small_loop(name=name, form=("waves", 1), **config)
    start = loop.method.result(loop.begin(jax.random.key(0))[0])
    state, _ = rounds(loop, 2)
    made = loop.method.result(state)
    assert list(made.stored) == ["coefficients"] and made.images.shape == (6, 8, 8, 3)
    assert np.mean(made.stored["coefficients"] != start.stored["coefficients"]) > 0.5


def test_a_gradient_method_trains_and_resets_its_network():
    loop = small_loop(name="toy_gradients")
    start = jax.tree.leaves(loop.begin(jax.random.key(0))[0].more)
    losses = rounds(loop, 4)[1].scalars["inner_loss"]
    assert losses.shape == (4,)
    for count, moves in ((1, 3), (2, 6), (3, 3)):
        ends = jax.tree.leaves(rounds(loop, count)[0].more)
        gap = max(float(np.abs(a - b).max()) for a, b in zip(ends, start, strict=True))
        assert gap > 0, moves
    one, three = (jax.tree.leaves(rounds(loop, n)[0].more) for n in (1, 3))
    two = jax.tree.leaves(rounds(loop, 2)[0].more)

    def far(ends):
        return sum(float(np.sum((a - b) ** 2)) for a, b in zip(ends, start, strict=True))

    # Set back in round 2.
    assert far(two) > 1.1 * far(one) > far(three)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_states_its_facts_and_its_fields_have_rules(name, monkeypatch):
    facts, kind = methods.facts(name), methods.kind(name)
    assert set(facts) == {"family", "idea", "description", *methods.FACTS} and all(facts.values())
    assert facts["status"].startswith("tested")
    monkeypatch.setattr(methods, "METHODS", {name: kind})
    head, _, row = methods.table().splitlines()
    assert row.startswith(f"| `{name}` | {facts['family']} | ")
    cells = re.split(r"(?<!\\)\|", row)
    assert len(cells) == len(head.split("|")) and facts["licence"] == cells[-3].strip()
    for field, (default, rule) in kind.fields.items():
        assert rule.accepts(default), field
    config = configuration.default_config()
    config.update_from_flattened_dict(kind.published)
    configuration.validate(config)


def test_a_method_without_facts_is_told_which_lines_to_write(monkeypatch):
    with pytest.raises(ValueError, match=r"families does not .* write 'Source: .*'Status: \.\.\.'"):
        methods.facts("toy_matching")
    module = sys.modules["tests.distillation.families"]
    stated = "Toy.\n\nSource: a.\nCost: b.\nDeviations: c,\nd.\nStatus: tested."
    monkeypatch.setattr(module, "__doc__", stated)
    with pytest.raises(ValueError, match=r"write 'Licence: \.\.\.' in it"):
        methods.facts("toy_matching")
    monkeypatch.setattr(module, "__doc__", f"{stated}\nLicence: e.")
    facts = methods.facts("toy_matching")
    assert (facts["description"], facts["deviations"]) == ("Toy.", "c, d.")


def test_a_registered_method_is_a_choice_of_the_configuration():
    config = configuration.default_config()
    config.method = "toy_recovery"
    configuration.validate(config)
    config.method = "toy_recover"
    with pytest.raises(configuration.ConfigError, match="did you mean 'toy_recovery'"):
        configuration.validate(config)
