import dataclasses
import functools
import os
import subprocess
import sys
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.evaluation import evaluate
from csdm_jax.evaluation.evaluate import TestSet
from csdm_jax.runtime import interruption
from csdm_jax.training import extractors, parallel
from csdm_jax.training.trainer import Trainer
from tests.flags import devices_flags
from tests.training.test_trainer import RECIPE, targets_of

COUNT = 3
SHORT = dataclasses.replace(RECIPE, epochs=2)
# Adam divides by the gradient's size: where the norm layer makes it zero, rounding decides.
SMOOTH = dataclasses.replace(SHORT, optimiser="sgd", learning_rate=0.05)
EXACT = ("loop", "threads", "unrolled")


def make_trainer(tiny, strategy, recipe=SHORT):
    return Trainer(tiny.network, recipe, tiny.normaliser, strategy)


def fit_many(tiny, trainer, count=COUNT, **options):
    """Trained parameters of networks 0, 1, ..."""
    found = {}
    trainer.fit_many(
        list(jax.random.split(jax.random.key(5), count)),
        tiny.data.images,
        targets_of(tiny.data),
        on_finish=lambda number, params: found.update({number: jax.device_get(params)}),
        labels=[f"network {k}" for k in range(count)],
        **options,
    )
    assert sorted(found) == [*range(count)]
    return [found[k] for k in range(count)]


@pytest.fixture(scope="module")
def alone(tiny):
    """The networks, each trained by itself."""
    trainer = make_trainer(tiny, "auto")
    arguments = (tiny.data.images, targets_of(tiny.data))
    keys = jax.random.split(jax.random.key(5), COUNT)
    return [jax.device_get(trainer.fit(key, *arguments)) for key in keys]


@pytest.mark.parametrize("name", EXACT)
def test_networks_trained_together_have_the_bits_of_networks_trained_alone(tiny, alone, name):
    chex.assert_trees_all_equal(fit_many(tiny, make_trainer(tiny, name)), alone)


@pytest.mark.parametrize("name", sorted(set(parallel.STRATEGIES) - set(EXACT)))
def test_other_strategies_agree_to_rounding(tiny, name):
    found, expected = (fit_many(tiny, make_trainer(tiny, one, SMOOTH)) for one in (name, "loop"))
    chex.assert_trees_all_close(found, expected, atol=1e-5)


def test_reports_of_a_group_belong_to_their_networks(tiny):
    def reports(name):
        found = {}

        def on_report(number, epoch, params, loss):
            weight = float(jnp.sum(jax.tree.leaves(params)[0]))
            found.setdefault(number, []).append((epoch, loss, weight))

        fit_many(tiny, make_trainer(tiny, name, SMOOTH), on_report=on_report)
        return found

    expected, grouped = reports("loop"), reports("vmap")
    assert {k: [epoch for epoch, *_ in rows] for k, rows in grouped.items()} == {
        k: [1, 2] for k in range(COUNT)
    }
    for k in range(COUNT):
        np.testing.assert_allclose(grouped[k], expected[k], atol=1e-5)
    assert len({rows[0][1] for rows in expected.values()}) == COUNT


@pytest.mark.parametrize("name", ["unrolled", "threads"])
def test_no_more_networks_than_the_limit_are_under_way(tiny, alone, name, monkeypatch):
    monkeypatch.setattr(parallel, "AT_ONCE", 2)
    monkeypatch.setattr(parallel, "_cores", lambda: 8)
    under_way, most = set(), []

    def start(number, init=tiny.network.init):
        under_way.add(number)
        most.append(len(under_way))
        return init(jax.random.split(jax.random.split(jax.random.key(5), COUNT)[number])[0])

    def on_report(number, epoch, params, loss):
        if epoch == SHORT.epochs:
            under_way.remove(number)

    found = fit_many(tiny, make_trainer(tiny, name), start=start, on_report=on_report)
    chex.assert_trees_all_equal(found, alone)
    assert max(most) == 2


@pytest.mark.parametrize("name", sorted(parallel.STRATEGIES))
def test_epochs_and_later_networks_compile_nothing_anew(tiny, name, monkeypatch):
    traces = []
    step = Trainer._step

    def counted(self, *arguments):
        traces.append(threading.get_ident())
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", counted)
    trainer = make_trainer(tiny, name)
    fit_many(tiny, trainer, count=2)
    before = len(traces)
    # lax.map may look at its body more than once; the others see each network once.
    assert before == {"loop": 1, "threads": 1, "vmap": 1}.get(name, before) <= 4
    fit_many(tiny, trainer, count=2)
    assert len(traces) == before


@pytest.mark.parametrize("name", ["loop", "threads", "vmap"])
def test_a_signal_ends_all_networks_under_way(tiny, name, monkeypatch):
    asked = threading.Event()
    monkeypatch.setattr(interruption, "requested", asked.is_set)
    reports = []

    def on_report(number, epoch, params, loss):
        reports.append((number, epoch))
        if len(reports) == COUNT:
            asked.set()

    trainer = make_trainer(tiny, name, dataclasses.replace(RECIPE, epochs=50))
    with pytest.raises(interruption.Interrupted, match=r"in network \d, after step"):
        fit_many(tiny, trainer, on_report=on_report)
    assert len(reports) <= COUNT + 1
    assert not worker_threads()


def worker_threads():
    return [one.name for one in threading.enumerate() if "ThreadPoolExecutor" in one.name]


def test_a_failed_network_ends_the_others(tiny, monkeypatch):
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    epochs = []

    def start(number):
        params = tiny.network.init(jax.random.key(number))
        return jax.tree.map(lambda leaf: leaf * np.nan, params) if number == 1 else params

    trainer = make_trainer(tiny, "threads", dataclasses.replace(RECIPE, epochs=1000))
    with pytest.raises(FloatingPointError, match="network 1: loss not finite at step 0"):
        fit_many(tiny, trainer, start=start, on_report=lambda k, epoch, *_: epochs.append(epoch))
    assert max(epochs, default=0) < 1000
    assert not worker_threads()


def seconds_of(**times):
    """Trials that take so long by a clock of their own, and that clock."""
    now = [0.0]

    def trial(duration):
        now[0] += duration

    trials = {name: functools.partial(trial, duration) for name, duration in times.items()}
    return trials, lambda: now[0]


@pytest.mark.parametrize(
    ("times", "winner"),
    [
        pytest.param({"loop": 1.0, "threads": 0.5, "sharded": 0.7}, "threads", id="fastest"),
        pytest.param({"loop": 1.0, "threads": 0.95}, "loop", id="no-clear-margin"),
        pytest.param({"loop": 1.0, "vmap": 3.0}, "loop", id="slower"),
    ],
)
def test_the_fastest_wins_by_a_clear_margin_and_the_log_says_so(times, winner, monkeypatch):
    lines = []
    trials, clock = seconds_of(**times)
    monkeypatch.setattr(parallel.time, "perf_counter", clock)
    monkeypatch.setattr(parallel.logging, "info", lambda line, *rest: lines.append(line % rest))
    assert parallel.fastest(trials, "5 networks") == winner
    (line,) = lines
    assert line.startswith("5 networks: loop 1 s, ") and line.endswith(f"takes {winner}")


def test_on_a_cpu_the_race_is_among_strategies_of_equal_bits():
    for devices in (1, 4):
        names = parallel.candidates("cpu", devices)
        assert names[0] == "loop" and set(names) <= set(EXACT)
    assert "vmap" in parallel.candidates("gpu", 1)


def test_auto_races_once_on_the_real_shapes_and_consumes_nothing(tiny, alone, monkeypatch):
    raced, reports = [], []

    def fastest(trials, label):
        for trial in trials.values():
            trial()
        raced.append((sorted(trials), label))
        return "threads"

    monkeypatch.setattr(parallel, "WORTH_A_RACE", 0)
    monkeypatch.setattr(parallel, "candidates", lambda backend, devices: ("loop", "threads"))
    monkeypatch.setattr(parallel, "fastest", fastest)
    trainer = make_trainer(tiny, "auto")
    found = fit_many(tiny, trainer, on_report=lambda k, epoch, *_: reports.append((k, epoch)))
    chex.assert_trees_all_equal(found, alone)
    assert sorted(reports) == [(k, epoch) for k in range(COUNT) for epoch in (1, 2)]
    chex.assert_trees_all_equal(fit_many(tiny, trainer), alone)
    assert raced == [(["loop", "threads"], "3 networks convnet at once, 3 steps")]


def test_a_short_training_is_not_raced(tiny, monkeypatch):
    raced = []
    monkeypatch.setattr(parallel, "fastest", lambda trials, label: raced.append(label) or "loop")
    assert len(fit_many(tiny, make_trainer(tiny, "auto"), count=2)) == 2
    assert raced == []


def evaluations(tiny, strategy, kept=None):
    return evaluate.evaluate(
        tiny.data.images,
        targets_of(tiny.data),
        TestSet.create(tiny.dataset.test_images, tiny.dataset.test_labels, 3),
        trainer=make_trainer(tiny, strategy),
        seeds=range(4, 4 + COUNT),
        check_every=1,
        label="test",
        kept=kept,
    )


def test_an_evaluation_is_the_same_by_any_exact_strategy(tiny):
    expected = evaluations(tiny, "loop")
    for strategy in ("auto", "threads", "unrolled"):
        assert evaluations(tiny, strategy) == expected


def test_finished_networks_are_kept_whatever_is_left_to_train(tiny, tmp_path):
    kept = evaluate.ResultStore(tmp_path, {"of": "a test"})
    expected = evaluations(tiny, "threads", kept)
    (tmp_path / "network-5.json").unlink()
    assert evaluations(tiny, "threads", kept) == expected


def test_a_pool_is_the_same_by_any_exact_strategy(tiny, tmp_path):
    def files(strategy):
        folder = tmp_path / strategy
        extractors.ensure_pool(
            folder,
            {"test": 1},
            network=tiny.network,
            trainer=make_trainer(tiny, strategy),
            data=tiny.data,
            count=COUNT,
            seed=0,
        )
        return {path.name: path.read_bytes() for path in folder.glob("*/*.msgpack")}

    expected = files("loop")
    assert len(expected) == COUNT
    assert files("auto") == files("threads") == files("unrolled") == expected


SHARDED = """
import jax
from csdm_jax.training import parallel
from tests.training.test_parallel import fit_many, make_trainer
from tests.conftest import tiny
import chex

assert len(jax.devices()) == 4
data = tiny.__wrapped__()
expected = fit_many(data, make_trainer(data, "loop"), count=5)
sharded = fit_many(data, make_trainer(data, "sharded"), count=5)

# Some processors round the last bit otherwise. Optimisers make much of it in a bias that is
# normalised away, and so has no gradient but noise.
def seen(path, leaf):
    names = jax.tree_util.keystr(path)
    return leaf * 0 if "Conv" in names and "bias" in names else leaf

sharded, expected = (jax.tree_util.tree_map_with_path(seen, one) for one in (sharded, expected))
chex.assert_trees_all_close(sharded, expected, rtol=1e-3, atol=1e-3)
step = parallel.strategy("sharded")
spread = step.pack([jax.numpy.float32(k) for k in range(5)])
assert spread.sharding.device_set == set(jax.devices()) and spread.shape == (8,)
assert not spread.sharding.is_fully_replicated
assert step.unpack(spread, 5) == [0, 1, 2, 3, 4]
print("equal")
"""


def test_four_devices_share_five_networks():
    env = os.environ | {
        "XLA_FLAGS": devices_flags(4),
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SHARDED], env=env, capture_output=True, text=True
    )
    assert done.stdout.endswith("equal\n"), done.stderr


def test_an_unknown_strategy_is_refused(tiny):
    with pytest.raises(ValueError, match=r"unknown strategy 'thread'.*did you mean 'threads'"):
        make_trainer(tiny, "thread")
