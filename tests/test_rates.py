"""`launch/rates.py` and `config.rates`: a learning rate for each method."""

import ast
import re
import runpy
from pathlib import Path

import pytest

from csdm_jax import sweep
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import sweeps
from tests.finished import write_run

RATES = runpy.run_path(str(Path(__file__).parent.parent / "launch" / "rates.py"))
FOUND = {"dc": {0.01: 50.0, 0.1: 61.04, 0.001: 61.04}, "mtt": {0.01: 70.0, 0.001: 12.0}}


def test_the_best_rate_is_taken_and_of_equal_ones_the_lowest():
    assert RATES["best"](FOUND) == {"dc": 0.001, "mtt": 0.01}


def test_the_table_marks_what_lies_at_an_end_of_the_grid():
    assert RATES["table"](FOUND).splitlines()[:4] == [
        "| method | 0.001 | 0.01 | 0.1 |",
        "|---|---|---|---|",
        "| dc | **61.0** (!) | 50.0 | 61.0 |",
        "| mtt | 12.0 | **70.0** | - |",
    ]
    lines = RATES["table"]({"dc": {0.1: 2.0, 0.01: 1.0}, "mtt": {0.1: 3.0}}).splitlines()
    assert lines[2:4] == ["| dc | 1.0 | **2.0** (!) |", "| mtt | - | **3.0** (!) |"]
    assert "(!)" not in RATES["table"]({"dc": {0.1: 1.0}}).splitlines()[2]


def test_the_flag_is_a_tuple_that_the_configuration_takes():
    flag = RATES["flag"]({"dc": 0.001, "mtt": 3e-4})
    assert flag == "\"--config.rates=('dc=0.001','mtt=0.0003',)\""
    config = configuration.load("digits_lt")
    config.rates = ast.literal_eval(flag.strip('"').partition("=")[2])
    configuration.validate(config)
    assert configuration.of_method(config, "mtt").distill.learning_rate == 3e-4


def test_only_runs_on_tuning_images_count(tmp_path, monkeypatch):
    config = configuration.load("digits_lt")
    config.baselines, config.distill.seeds = (), (0,)
    axes = sweeps.parse("config.distill.learning_rate=0.01,0.1")
    runs = sweeps.plan(config, axes, tmp_path)
    monkeypatch.setattr(sweeps, "is_finished", lambda run: run is runs[0])
    write_run(runs[0].workdir, "csdm", 0, [70.0, 80.0], on="tuning")
    assert RATES["measured"](runs) == {"csdm": {0.01: 75.0}}
    write_run(runs[0].workdir, "csdm", 0, [70.0])
    with pytest.raises(ValueError, match="was tested on the test set: nothing is chosen there"):
        RATES["measured"](runs)


def test_the_command_passes_on_what_stands_behind_the_dashes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(sweep, "plan", lambda options: seen.append(options) or ([], [], []))
    monkeypatch.setattr(sweep, "start", lambda options, runs, flags: 3)
    given = ["--methods=dc,mtt", "--rates=0.1,0.2", "--jobs=2", "--", "--config.distill.ipc=1"]
    assert RATES["main"]([f"--out={tmp_path}", "--config=digits_lt", *given]) == 3
    (options,) = seen
    assert options.sweep == "config.method=dc,mtt config.distill.learning_rate=0.1,0.2"
    assert (options.jobs, options.config, options.out) == (2, "digits_lt", tmp_path)
    assert options.flags == ["--config.evaluate.on=tuning", "--config.distill.ipc=1"]


def test_what_is_not_finished_is_said(tmp_path, capsys):
    RATES["write"](FOUND, tmp_path, 6)
    said = capsys.readouterr().out
    assert (
        "ONLY 5 OF 6 RUNS ARE FINISHED" in said
        and said == (tmp_path / "rates.md").read_text() + "\n"
    )
    RATES["write"](FOUND, tmp_path, 5)
    assert "ONLY" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("on", "test", "evaluate.on = 'test': rates are not chosen there, leave it out"),
        ("networks", ("convnet", "resnet18"), "a rate is chosen by one, name it"),
    ],
)
def test_what_nothing_is_chosen_by_is_refused_before_anything_is_run(
    tmp_path, monkeypatch, field, value, words
):
    config = configuration.load("digits_lt")
    config.evaluate.on = "tuning"
    config.evaluate[field] = value
    runs = [sweeps.Run({}, config, tmp_path)]
    monkeypatch.setattr(sweep, "plan", lambda options: ([], runs, []))
    monkeypatch.setattr(sweep, "start", lambda *given: pytest.fail("was started"))
    given = ["--config=digits_lt", "--methods=dc", "--rates=0.1,0.2"]
    with pytest.raises(SystemExit, match=re.escape(words)):
        RATES["main"]([f"--out={tmp_path}", *given])


def test_a_rate_is_not_swept_where_a_method_has_its_own(tmp_path):
    config = configuration.load("digits_lt")
    config.rates = ("dm=0.5", "mtt=0.1")
    axes = sweeps.parse("config.distill.learning_rate=0.01,0.1")
    with pytest.raises(configuration.ConfigError, match=r"is swept, and .* gives dm one"):
        sweeps.plan(config, axes, tmp_path)
    config.baselines = ("random",)
    assert len(sweeps.plan(config, axes, tmp_path)) == 2
