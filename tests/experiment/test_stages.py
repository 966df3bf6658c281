"""Whom a working directory belongs to, and what a rerun may do to it."""

import json
import re
import shutil

import numpy as np
import pytest

from csdm_jax.distillation import loop, methods
from csdm_jax.evaluation import statistics
from csdm_jax.experiment import claims, saved, sections, stages
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.reporting import page
from csdm_jax.runtime import cluster
from csdm_jax.sets import distilled
from csdm_jax.storage import files, lock
from csdm_jax.training import extractors


def quick(**fields):
    """Real images alone: nothing is trained to distil them."""
    config = configuration.default_config()
    plain = {"method": "random", "data.rule": "seeded", "data.imbalance_factor": 10.0}
    plain |= {"distill.ipc": 1, "distill.parameterisation": "pixels"}
    config.update_from_flattened_dict(plain | fields)
    return config


@pytest.mark.parametrize("stage", ["evaluate", "report"])
def test_a_stage_that_fails_before_writing_claims_nothing(tmp_path, stage):
    with pytest.raises(FileNotFoundError, match="run the stage 'distill'"):
        stages.run(quick(), tmp_path, stage=stage)
    assert {path.name for path in tmp_path.iterdir()} <= {lock.NAME}
    stages.run(quick(**{"distill.ipc": 2}), tmp_path, stage="distill")  # another configuration
    assert (tmp_path / saved.NAME).exists()


def test_a_stage_that_fails_after_another_has_written_leaves_the_claim(tmp_path):
    stages.run(quick(), tmp_path, stage="distill")
    for name in (distilled.ARRAYS, saved.NAME):
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError):
        stages.run(quick(), tmp_path, stage="evaluate")
    with pytest.raises(configuration.ConfigError, match=r"distill\.ipc: 1 -> 2"):
        stages.run(quick(**{"distill.ipc": 2}), tmp_path, stage="distill")


def test_what_a_method_settles_stays_when_its_run_goes_on(tmp_path, monkeypatch):
    """On other hardware the rule might give another number."""
    settled = iter(({"sdd.scale": 1.0}, {"sdd.scale": 2.0}, {"sdd.scale": 3.0}, {"sdd.scale": 4.0}))
    kind = methods.base.Kind(lambda *given: None, settle=lambda *given: next(settled))
    monkeypatch.setitem(methods.METHODS, "random", kind)
    assert Experiment(quick(), tmp_path).settled("random") == {"sdd.scale": 1.0}
    assert Experiment(quick(), tmp_path).settled("random") == {"sdd.scale": 1.0}
    other = Experiment(quick(**{"distill.ipc": 2}), tmp_path)
    assert other.settled("random") == {"sdd.scale": 2.0}
    assert Experiment(quick(), tmp_path / "elsewhere").settled("random") == {"sdd.scale": 3.0}
    path = tmp_path / "elsewhere" / "settled" / "random.json"
    path.write_text(path.read_text()[:-9])
    again = Experiment(quick(), tmp_path / "elsewhere")
    assert again.settled("random") == {"sdd.scale": 4.0}


def test_the_first_process_alone_reads_what_settled_numbers_depend_on(tmp_path, monkeypatch):
    """Its identity hashes all images, of which another process may hold a part."""
    monkeypatch.setattr(cluster, "is_first", lambda: False)
    monkeypatch.setattr(cluster, "first_says", lambda answer: True)
    monkeypatch.setattr(cluster, "told", lambda value: {"sdd.scale": 1.0})
    monkeypatch.setattr(Experiment, "identity", lambda *given: pytest.fail("asked"))
    assert Experiment(quick(), tmp_path).settled("random") == {"sdd.scale": 1.0}


def test_a_budget_of_seconds_says_how_many_steps_a_method_makes(tmp_path, monkeypatch):
    fields = {"method": "dm", "distill.seconds": 1.0, "distill.batch": 2}
    small = {"network.width": 4, "network.depth": 1, "extractors.count": 1, "extractors.epochs": 1}
    config = quick(**fields | small | {"extractors.cutmix": 0.0, "baselines": ("random",)})
    monkeypatch.setattr(loop.Loop, "seconds_a_step", lambda self, key: 0.3)
    stages.run(config, tmp_path, stage="extractors")
    stages.run(config, tmp_path, stage="distill")
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    card = distilled.load(tmp_path)[1]
    assert card["settled"]["distill.steps"] == 3
    assert "distill.steps" not in distilled.load(tmp_path / "runs" / "random-seed0")[1]["settled"]
    monkeypatch.setattr(loop.Loop, "seconds_a_step", lambda self, key: 0.1)
    assert Experiment(config, tmp_path).settled("dm")["distill.steps"] == 3  # on another machine
    shutil.rmtree(tmp_path / "settled")  # the set's card says it, too
    assert Experiment(config, tmp_path).settled("dm")["distill.steps"] == 3
    with pytest.raises(configuration.ConfigError, match=r"distill\.seconds: 1\.0 -> 2\.0"):
        stages.run(quick(**fields | small | {"distill.seconds": 2.0}), tmp_path, stage="distill")


def test_extractors_are_judged_by_groups_of_classes_on_tuning_images(tmp_path, monkeypatch, caplog):
    experiment = Experiment(quick(**{"method": "dm", "evaluate.on": "tuning"}), tmp_path)
    experiment.supplies.pool = extractors.like(experiment.network, 2)
    by_class = np.linspace(10.0, 100.0, 10)
    by_class[0] = np.nan  # the head class is used whole: none is left for tuning
    found = [(55.0, by_class), (57.0, by_class + 2)]
    monkeypatch.setattr(Experiment, "pool_accuracies", lambda *given: found)
    with caplog.at_level("INFO"):
        stages.extractor_stage(experiment)
    groups = statistics.group_accuracies(by_class + 1, experiment.host.counts)
    summary = json.loads((tmp_path / "extractors.json").read_bytes())
    assert summary["accuracy_by_group"] == pytest.approx(groups) and len(groups) == 3
    assert summary["evaluated_on"] == "tuning"
    assert f"few {groups['few']:.1f}, on tuning images (shown only)" in caplog.text


def test_classes_that_no_extractor_knows_are_warned_of(tmp_path, monkeypatch, caplog):
    experiment = Experiment(quick(**{"method": "dm", "evaluate.on": "tuning"}), tmp_path)
    experiment.supplies.pool = extractors.like(experiment.network, 2)
    by_class = np.full(10, 50.0)
    by_class[0], by_class[3:] = np.nan, 0.0
    halves = by_class.copy()
    halves[9] = 1.0  # one of the two is right about one image
    for second, told in ((by_class, "3, 4, 5, 6, 7, ..."), (halves, "3, 4, 5, 6, 7, ...")):
        found = [(5.0, by_class), (5.0, second)]
        monkeypatch.setattr(Experiment, "pool_accuracies", lambda *given, found=found: found)
        caplog.clear()
        stages.extractor_stage(experiment)
        missed = 7 if second is by_class else 6
        assert f"right about no image of {missed} of 10 classes ({told})" in caplog.text
        epochs, images = experiment.config.extractors.epochs, len(experiment.host)
        assert f"({epochs}, of {images} images), or set extractors.logit_adj" in caplog.text
    experiment.config.extractors.logit_adjustment = 1.0
    stages.extractor_stage(experiment)
    assert caplog.text.endswith(f"({epochs}, of {images} images)\n")


def test_tuning_is_refused_at_once_where_no_image_is_left_for_it(tmp_path):
    fields = {"evaluate.on": "tuning", "data.rule": "none", "data.imbalance_factor": 1.0}
    with pytest.raises(ValueError, match="none is left for tuning"):
        Experiment(quick(**fields), tmp_path)


def test_a_pool_without_a_second_stage_is_the_one_that_it_was(tmp_path):
    def described(**fields):
        given = {f"extractors.{name}": value for name, value in fields.items()}
        experiment = Experiment(quick(**given), tmp_path)
        return experiment.supplies.pool_description(experiment.network, {})

    assert not {"classifier_epochs", "classifier_rate"} & described(classifier_rate=0.5).keys()
    found = described(classifier_epochs=3, classifier_rate=0.5)
    assert (found["classifier_epochs"], found["classifier_rate"]) == (3, 0.5)


LARGER = {"baselines": ("dm",), "distill.seeds": (0, 1), "evaluate.count": 3}


@pytest.mark.parametrize(
    ("less", "message"),
    [
        ({"baselines": ()}, "baselines: ['dm'] -> ()"),
        ({"distill.seeds": (0,)}, "distill.seeds: [0, 1] -> (0,)"),
        ({"evaluate.count": 2}, "evaluate.count: 3 -> 2"),
        ({"evaluate.networks": ("resnet18",)}, "evaluate.networks: ['convnet'] -> ('resnet18',)"),
        ({"distill.steps": 7}, "distill.steps: 10000 -> 7"),
    ],
)
def test_a_smaller_rerun_does_not_replace_a_finished_report(tmp_path, less, message):
    files.write_sealed_json(tmp_path / saved.NAME, quick(**LARGER).to_dict())
    smaller = quick(**(LARGER | less))
    claims.check(smaller, tmp_path)  # nothing is finished yet
    (tmp_path / page.FILE).write_text("the report")
    said = re.escape(f"a finished report of more than is asked for ({message}): ask for at least")
    with pytest.raises(configuration.ConfigError, match=said):
        claims.check(smaller, tmp_path)
    claims.check(quick(**LARGER), tmp_path)
    claims.check(quick(**(LARGER | {"distill.seeds": (0, 1, 2)})), tmp_path)


def test_the_pool_s_folder_is_read_as_a_shell_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr(extractors, "trained", lambda folder, *rest: asked.append(folder))
    for given in ("~/my pool/", ""):
        Experiment(
            quick(**{"extractors.pool_dir": given}), tmp_path / "w"
        ).supplies.first_extractor()
    assert asked == [tmp_path / "my pool", tmp_path / "w" / "extractors"]


def test_another_configuration_is_told_which_flag_takes_up_the_directory(tmp_path):
    files.write_sealed_json(tmp_path / saved.NAME, quick().to_dict())
    told = re.escape(f"take another --workdir, or go on with it by --config={tmp_path}/config.json")
    with pytest.raises(configuration.ConfigError, match=told):
        claims.check(quick(**{"sdd.scale": 2.0}), tmp_path)


@pytest.mark.parametrize(
    ("before", "decay"), [({"optimiser": "adamw"}, 5e-4), ({"optimiser": "sgd"}, 0.03)]
)
def test_a_set_with_a_learning_rate_is_descended_without_adamw_s_decay(before, decay):
    section = configuration.default_config().evaluate
    section.update({"weight_decay": 0.03, **before})
    found = sections.evaluation_section(section, sections.Kind(lr=0.02))
    assert (found.optimiser, found.learning_rate, found.weight_decay) == ("sgd", 0.02, decay)
    assert section.weight_decay == sections.evaluation_section(section).weight_decay == 0.03


@pytest.mark.parametrize("stage", ["extractors", "report"])
def test_one_method_alone_has_no_stage_of_all_methods(tmp_path, stage):
    with pytest.raises(ValueError, match=f"stage = '{stage}' is of all methods"):
        stages.run(quick(), tmp_path, stage=stage, only="random")
