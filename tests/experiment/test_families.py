"""A small method of each family through all stages: set, card, export, score's reader, report."""

import dataclasses
import json

import numpy as np
import pytest

from csdm_jax import parameterisations
from csdm_jax.distillation import methods
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import sections, stages
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.scoring.scored import read
from csdm_jax.sets import distilled, exporting
from csdm_jax.sets.formats.facts import Facts
from tests.distillation.families import FAMILIES


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for name, kind in FAMILIES.items():
        monkeypatch.setitem(methods.METHODS, name, kind)


def small(method, **fields):
    config = configuration.default_config()
    config.method = method
    config.data.imbalance_factor, config.data.rule = 10.0, "seeded"
    config.network.update({"width": 8, "depth": 2})
    config.extractors.update({"count": 2, "epochs": 2, "batch": 64, "cutmix": 0.0})
    config.extractors.augmentation = "none"
    config.distill.update({"ipc": 2, "steps": 2, "batch": 8, "parameterisation": "pixels"})
    config.evaluate.update({"count": 1, "epochs": 2, "check_every": 2, "cutmix": 0.0})
    config.evaluate.augmentation = "none"
    config.update_from_flattened_dict(fields)
    return config


SOFT = ("datm", "toy_kernel_ridge", "toy_recovery")
EXPERTS = {"experts.count": 2, "experts.epochs": 3, "experts.augmentation": "none"}
EXPERTS |= {"trajectory.steps": 2, "trajectory.epochs": 1, "trajectory.latest": 1}
EXPERTS |= {"trajectory.latest_at_first": 0, "distill.augmentation": "none"}


@pytest.mark.parametrize("name", [*FAMILIES, "datm"])
def test_a_family_goes_through_all_stages(name, tmp_path):
    config = small(name, **EXPERTS if name == "datm" else {})
    experiment, rows = stages.run(config, tmp_path / "run")
    made, card = distilled.load(tmp_path / "run")
    soft = name in SOFT
    assert made.soft == soft and made.images.shape == (20, 8, 8, 1)
    assert card["label_kind"] == distilled.KINDS["logits" if soft else "hard"]
    assert (card["lr"] is not None) == (name == "datm")
    assert rows[0]["method"] == name and 0 <= rows[0]["last"] <= 100
    page = (tmp_path / "run" / "report.html").read_text()
    assert name in page and page.count("<img") >= 10
    for form in ("npz", "safetensors"):
        exporting.export_set(tmp_path / "run", form, tmp_path / form)
    for folder in ("run", "npz", "safetensors"):
        scored = read(tmp_path / folder, experiment.dataset, Facts())
        np.testing.assert_allclose(scored.images, made.images, atol=1e-6)
        np.testing.assert_allclose(scored.targets, made.probabilities, atol=1e-6)
        assert scored.lr == pytest.approx(card["lr"])
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").glob("distilled.npz")}
    stages.run(config, tmp_path / "run", stage="distill")  # finished: nothing is done again
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "run").glob("distilled.npz")}


SHARED = {"fred": ["coefficients", "mask"], "nsd": ["left", "right", "tensors"]}


@pytest.mark.parametrize("form", SHARED)
def test_a_set_of_coefficients_goes_through_all_stages(form, tmp_path):
    fields = {"distill.parameterisation": form, "distill.ipc": 4, "distill.reuse_images": True}
    config = small("toy_matching", **fields)
    experiment, rows = stages.run(config, tmp_path / "run")
    made, card = distilled.load(tmp_path / "run")
    assert sorted(card["arrays"]) == SHARED[form] and rows
    assert made.images.shape == (160, 8, 8, 1) and (card["ipc"], card["factor"]) == (4, 2)
    assert parameterisations.size(made.stored) <= 4 * 40 * 64 + 80
    page = (tmp_path / "run" / "report.html").read_text()
    assert "decoded images, 16 a class" in page
    exporting.export_set(tmp_path / "run", "npz", tmp_path / "out")
    for path in (tmp_path / "run", tmp_path / "out"):
        scored = read(path, experiment.dataset, Facts())
        np.testing.assert_allclose(scored.images, made.images, atol=1e-6)
    exporting.export_set(tmp_path / "run", "png", tmp_path / "png")
    assert len(list((tmp_path / "png").rglob("*.png"))) == 160


def test_a_parameterisation_that_has_no_room_is_refused(tmp_path):
    for form, factor, said in (("nsd", 4, "no room for a rank"), ("fred", 9, "that is none")):
        fields = {"distill.parameterisation": form, "distill.factor": factor}
        with pytest.raises(ValueError, match=said):
            Experiment(small("random", **fields, **{"distill.reuse_images": True}), tmp_path)


def test_a_learning_rate_of_the_set_trains_its_evaluation_networks():
    experiment = Experiment(small("random"), "unused")
    assert experiment.trainer("convnet").recipe.optimiser == "adamw"
    own = experiment.trainer("convnet", sections.Kind(lr=0.25)).recipe
    assert (own.optimiser, own.learning_rate) == ("sgd", 0.25)
    assert (
        experiment.evaluation_settings(sections.Kind(lr=0.25)) != experiment.evaluation_settings()
    )


def test_no_extractor_is_trained_for_methods_that_need_none(tmp_path):
    stages.run(small("random"), tmp_path, stage="extractors")
    assert not (tmp_path / "extractors").exists()


def test_two_published_methods_keep_apart(tmp_path, monkeypatch):
    tiny = {"distill.steps": 1, "distill.batch": 4}
    for name in ("dm", "mmd"):
        kind = dataclasses.replace(methods.kind(name), published=tiny)
        monkeypatch.setitem(methods.METHODS, name, kind)
    plain = dataclasses.replace(methods.kind("random"), published={})
    monkeypatch.setitem(methods.METHODS, "random", plain)
    config = small("dm", baselines=("mmd", "random"), recipe="published")
    config.distill.augmentation, config.sdd.num_frequencies = "none", 8
    experiment, rows = stages.run(config, tmp_path)
    assert {row["method"] for row in rows} == {"dm", "mmd", "random"}
    for method, folder in (("dm", tmp_path), ("mmd", tmp_path / "runs" / "mmd-seed0")):
        card = distilled.load(folder)[1]
        assert (card["method"], card["config"]["distill"]["steps"]) == (method, 1)
    assert experiment.of("dm").host is experiment.of("mmd").host is experiment.host
    assert "published recipe" in (tmp_path / "table.md").read_text()


def test_a_method_has_the_rate_that_it_is_given_and_the_others_the_common_one():
    config = small("dm", baselines=("mmd",), rates=("mmd=0.5",))
    experiment = Experiment(config, "unused")
    assert experiment.of("dm") is experiment
    assert experiment.of("mmd").config.distill.learning_rate == 0.5
    assert experiment.of("mmd").identity("mmd", 0)["distill.learning_rate"] == 0.5
    alone = Experiment(small("dm"), "unused")
    assert experiment.identity("dm", 0) == alone.identity("dm", 0)  # finished runs stay
    assert configuration.overrides(small("dm"), config) == {"rates": ("mmd=0.5",)}
    config.recipe = "published"
    assert configuration.of_method(config, "mmd").distill.learning_rate == 0.5


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        (("mmd",), "a text METHOD=RATE, of a registered method and a number in"),
        (("mmd=0",), "a text METHOD=RATE"),
        (("mmd=much",), "a text METHOD=RATE"),
        (("nobody=0.1",), "a text METHOD=RATE"),
        (("mmd=0.1", "mmd=0.2"), "config.rates names mmd twice: give it one rate"),
    ],
)
def test_a_rate_that_cannot_be_is_refused(rates, words):
    config = small("dm")
    config.rates = rates
    with pytest.raises(configuration.ConfigError, match=words):
        configuration.validate(config)


def test_what_belongs_to_a_method_is_set_under_any_recipe_by_fields_of_its_own():
    config = small("dm", baselines=("rldd",))
    for recipe in configuration.RECIPES:
        config.recipe = recipe
        own = configuration.of_method(config, "rldd").extractors
        assert (own.consistency, own.reweighting) == (1.0, 1.0)
    config.rldd.consistency = 0.0
    config.extractors.reweighting, config.extractors.logit_adjustment = 0.5, 1.0
    own = configuration.of_method(config, "rldd").extractors
    assert (own.consistency, own.reweighting, own.logit_adjustment) == (0.0, 1.0, 0.0)
    config.recipe = "ours"
    experiment = Experiment(config, "unused")
    assert experiment.of("dm") is experiment
    assert experiment.of("dm").config.extractors.reweighting == 0.5
    assert not experiment.of("rldd").shares("extractors")


def test_methods_that_differ_in_a_rate_share_extractors_and_compiled_evaluation(tmp_path):
    config = small("dm", baselines=("mmd",), rates=("mmd=0.5", "dm=0.25"))
    experiment, _ = stages.run(config, tmp_path, stage="extractors")
    assert json.loads((tmp_path / "extractors.json").read_text())["count"]
    for name in ("dm", "mmd"):
        own = experiment.of(name)
        assert own is not experiment and own.supplies.pool is experiment.supplies.pool
        assert own.trainer("convnet") is experiment.trainer("convnet")
        assert own.supplies.untrained(2) is experiment.supplies.untrained(2)
        assert own.supplies.trajectories(1) is experiment.supplies.trajectories(1)
    assert len(list((tmp_path / "extractors").iterdir())) == 2  # the pool, and its trajectories


def test_a_begun_directory_keeps_the_rates_of_its_methods(tmp_path):
    stages.run(small("dm", baselines=("random",), rates=("dm=0.25",)), tmp_path, stage="extractors")
    before = (tmp_path / "config.json").read_bytes()
    for changed in ((), ("dm=0.5",)):
        with pytest.raises(configuration.ConfigError, match=r"rates of dm: 0\.25 -> "):
            stages.run(small("dm", baselines=("random",), rates=changed), tmp_path)
        assert (tmp_path / "config.json").read_bytes() == before
    more = small("dm", baselines=("random", "mmd"), rates=("dm=0.25", "mmd=0.5"))
    stages.run(more, tmp_path, stage="extractors")


def test_a_run_of_before_a_method_s_fields_is_the_same_run():
    flat = configuration.flatten(small("dm"))
    before = {name: value for name, value in flat.items() if name != "mmd.coef0"}
    assert configuration.differences(before, flat) == []
    experiment = Experiment(small("dm"), "unused")
    assert "mmd.coef0" not in experiment.identity("dm", 0)
    assert "mmd.coef0" in experiment.identity("mmd", 0)


def test_a_run_is_the_same_whatever_the_fields_of_other_methods():
    config = small("dm")
    card = {"method": "dm", "config": config.to_dict()}
    config.mmd.coef0, config.experts.epochs = 7.0, 3
    assert stages.changed_fields(card, config) == []
    assert len(stages.changed_fields(card | {"method": "mmd"}, config)) == 1
    assert len(stages.changed_fields(card | {"method": "mtt"}, config)) == 1
    assert len(stages.changed_fields(card | {"method": "nobody's"}, config)) == 2
    config.distill.batch += 1
    assert len(stages.changed_fields(card, config)) == 1


def test_the_published_recipe_sets_the_methods_own_fields_and_no_others():
    config = small("dm", baselines=("mmd",), recipe="published")
    experiment = Experiment(config, "unused")
    assert experiment.of("mmd") is experiment
    own, published = experiment.of("dm").config, methods.kind("dm").published
    changed = configuration.flatten(own)
    for name, value in configuration.flatten(config).items():
        if name not in ("method", "baselines"):
            assert changed[name] == published.get(name, value), name
    assert own.distill.steps == 20_000 and own.evaluate.decay_at == (0.5,)
    config.recipe = "ours"
    ours = Experiment(config, "unused")
    assert ours.of("dm") is ours
