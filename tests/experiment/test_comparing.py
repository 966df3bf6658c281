"""A method that fails leaves the results of the others."""

import types

import pytest

import csdm_jax.compare as command
from csdm_jax.experiment import claims, comparing, stages
from csdm_jax.experiment import config as configuration
from csdm_jax.runtime.interruption import Interrupted
from csdm_jax.storage import lock
from tests.experiment.test_stages import quick
from tests.finished import write_run


def test_one_that_fails_lets_the_next_begin_and_a_signal_does_not(monkeypatch):
    begun = []

    def run(experiment, method):
        begun.append(method)
        if method in errors:
            raise errors[method]

    monkeypatch.setattr(stages, "method_stages", run)
    experiment = types.SimpleNamespace(methods=("random", "dm", "csdm"))
    errors = {"dm": FloatingPointError("no longer finite")}
    assert comparing.one_after_the_other(experiment) == ["dm"]
    assert begun == ["random", "dm", "csdm"]
    errors["random"] = Interrupted("stopped")
    with pytest.raises(Interrupted):
        comparing.one_after_the_other(experiment)
    assert begun[3:] == ["random"]


def test_those_that_did_not_fail_are_compared_and_the_others_named(tmp_path, monkeypatch, capsys):
    config = quick(baselines=("dm", "kmeans"))
    for method in ("dm", "kmeans", "random"):
        folder = tmp_path if method == "random" else tmp_path / "runs" / f"{method}-seed0"
        write_run(folder, method, 0, [40.0, 42.0])
    monkeypatch.setattr(stages, "extractor_stage", lambda experiment: None)
    told = []
    monkeypatch.setattr(stages, "report_stage", lambda experiment, numbers: told.append(numbers))
    found = comparing.run(config, tmp_path, lambda experiment: ["dm"])
    assert {row["method"] for row in found.numbers["methods"]} == {"kmeans", "random"}
    assert told == [found.numbers]
    with pytest.raises(SystemExit, match=r"^error: failed: dm; the same command"):
        command._say(found, tmp_path)
    assert "| kmeans | random |" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=r"no method has finished \(dm, kmeans, random\): the same"
    ):
        comparing.run(config, tmp_path, lambda experiment: list(experiment.methods))


def test_a_part_that_is_still_worked_at_is_not_begun_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "extractor_stage", lambda experiment: pytest.fail("it began"))
    with (
        lock.held(tmp_path / claims.JOBS / "random"),
        pytest.raises(lock.LockedError, match="jobs/random: wait for it"),
    ):
        comparing.run(quick(), tmp_path)


def test_one_method_alone_is_one_of_the_configuration(tmp_path):
    with pytest.raises(ValueError, match="only = 'dm': it must be one of random"):
        stages.run(quick(), tmp_path, only="dm")


def test_of_all_methods_those_are_left_out_that_cannot_work(monkeypatch):
    from csdm_jax.distillation import methods

    def refuse(config):
        raise configuration.ConfigError("it needs another network")

    kind = methods.base.Kind(lambda *given: None, check=refuse)
    monkeypatch.setattr(methods, "METHODS", {"random": methods.kind("random"), "never": kind})
    monkeypatch.setattr(configuration, "METHODS", methods.METHODS)
    assert command._chosen(["all"], quick(method="random")) == ["random"]
    wrong = quick(method="random")
    wrong.rates = (1,)
    with pytest.raises(configuration.ConfigError, match=r"config\.rates = \(1,\): it must be"):
        command._chosen(["all"], wrong)
    assert command._chosen(["never", "random"], quick()) == ["never", "random"]
