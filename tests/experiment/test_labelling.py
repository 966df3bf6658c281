"""Both tracks of labels, from the extractors to the table, at the smallest size."""

import shutil

import jax
import numpy as np
import pytest

from csdm_jax.distillation import features
from csdm_jax.evaluation import evaluate, pairs
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import labelling, sections, stages
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.experiment.supplies import Supplies
from csdm_jax.reporting import page, table
from csdm_jax.runtime import cluster
from csdm_jax.scoring import scored
from csdm_jax.scoring import table as score_table
from csdm_jax.sets import distilled, exporting, tracks
from csdm_jax.sets.formats.facts import Facts
from csdm_jax.storage import files
from csdm_jax.training.extractors import Pool
from tests.problem import tiny_dataset

COUNTS = (40, 20, 10)


def settings(**fields):
    config = configuration.default_config()
    config.update_from_flattened_dict(
        {
            "method": "random",
            "data.rule": "seeded",
            "data.imbalance_factor": 4.0,
            "network.width": 4,
            "network.depth": 1,
            "extractors.count": 2,
            "extractors.epochs": 2,
            "extractors.augmentation": "none",
            "distill.ipc": 1,
            "evaluate.count": 1,
            "evaluate.epochs": 1,
            "evaluate.augmentation": "none",
            "evaluate.cutmix": 0.0,
            "evaluate.soft_labels": True,
            "evaluate.soft_temperature": 2.0,
            "evaluate.soft_correction": "adsa",
            **fields,
        }
    )
    return config


def run(workdir, *which, **fields):
    for stage in which:
        stages.run(settings(**fields), workdir, stage=stage, dataset=tiny_dataset())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Evaluated with labels of its own; then, when a temperature is chosen, with soft ones."""
    workdir = tmp_path_factory.mktemp("tracks") / "run"
    fields = {"evaluate.soft_labels": False, "evaluate.soft_temperature": 1.0}
    run(workdir, "distill", "evaluate", **fields)
    shutil.copytree(workdir, workdir.parent / "own")
    run(workdir, "evaluate")
    return workdir


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_without_soft_labels_nothing_is_trained_and_nothing_changes(finished):
    own = finished.parent / "own"
    assert not (own / "extractors").exists() and not (own / tracks.FOLDER).exists()
    for path in (file for file in own.rglob("*") if file.suffix in (".npz", ".json")):
        if path.name not in ("timings.json", "config.json"):
            assert path.read_bytes() == (finished / path.relative_to(own)).read_bytes(), path


def test_labels_are_the_corrected_mean_of_the_softened_logits_at_every_tile(finished):
    experiment = Experiment(settings(), finished, dataset=tiny_dataset())
    result, card = distilled.load(finished / tracks.FOLDER)
    own, _ = distilled.load(finished)
    images = np.asarray(own.training_data()[0])
    np.testing.assert_array_equal(result.images, own.images)
    assert result.images.shape[0] == 3 and result.labels.shape == (12, 3)
    inputs = (images - np.array((0.4, 0.4, 0.4))) / 0.25
    each = [
        np.float64(experiment.network.apply(weights, np.float32(inputs))[0])
        for weights in features.each(experiment.supplies.pool.trained)
    ]
    softened = (each[0] + each[1]) / 2 / 2.0
    powers = np.exp(softened - card[tracks.SOFT]["tau"] * np.log(np.array(COUNTS) / 70))
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(result.labels, expected, atol=1e-5)
    np.testing.assert_array_equal(result.training_data()[1], result.labels)


@pytest.mark.parametrize(("right", "level"), [(0, "WARNING"), (5, "WARNING"), (6, "INFO")])
def test_labels_of_a_teacher_that_knows_few_images_are_warned_of(
    copy, caplog, right, level, monkeypatch
):
    logits = np.eye(3)[(labelling.own_classes(distilled.load(copy)[0], 12) + 1) % 3]
    logits[:right] = np.roll(logits, -1, axis=1)[:right]
    monkeypatch.setattr(features, "mean_logits", lambda *given: logits)
    fields = {"evaluate.soft_correction": "none"}
    with caplog.at_level("INFO"):
        labelling.label(Experiment(settings(**fields), copy, dataset=tiny_dataset()), copy)
    said = [one for one in caplog.records if "the likeliest" in one.getMessage()]
    assert [one.levelname for one in said] == ["INFO", "WARNING"][: 1 + (level == "WARNING")]
    assert (
        f"of {100 * right / 12:.0f} % of the images the own class is the likeliest" in caplog.text
    )


def test_the_card_says_who_labelled_the_images_and_how(finished):
    own, card = (
        files.read_sealed_json(f / distilled.CARD) for f in (finished, finished / tracks.FOLDER)
    )
    facts = card[tracks.SOFT]
    assert tracks.SOFT not in own and card["label_kind"] == "soft (class probabilities)"
    assert facts["set"] == own[distilled.DIGEST] != card[distilled.DIGEST]
    assert (facts["temperature"], facts["correction"]) == (2.0, "adsa")
    assert facts["teacher"]["count"] == 2 and facts["teacher"]["network"]["name"] == "convnet"
    assert (finished / "extractors" / facts["teacher"]["pool"]).is_dir()
    before, after = facts["confidence_spread"]
    assert after <= before and facts["tau"] >= 0
    assert facts["loss"] == labelling.LOSSES["cross_entropy"]
    assert card["config"]["evaluate"]["soft_temperature"] == 2.0
    (found,) = card["accuracies"]["convnet"]
    assert found["seed"] == 1000 and len(own["accuracies"]["convnet"]) == 1


def test_soft_labels_are_learned_by_the_loss_of_the_configuration(finished, tmp_path):
    chosen = {"evaluate.soft_loss": "squared_error"}
    run(tmp_path, "distill", "evaluate", **chosen)
    for folder, same in (("", True), (tracks.FOLDER, False)):
        (before, after) = (distilled.load(one / folder)[1] for one in (finished, tmp_path))
        assert (before["accuracies"] == after["accuracies"]) == same
    assert after[tracks.SOFT]["loss"] == labelling.LOSSES["squared_error"]
    assert tracks.described(after) == "soft, T 2, ADSA, squared error"
    experiment = Experiment(settings(**chosen), tmp_path, dataset=tiny_dataset())
    kinds = [sections.Kind(soft=soft) for soft in (False, True)]
    hard, soft = (experiment.trainer("convnet", kind).recipe.loss for kind in kinds)
    assert (hard, soft) == ("cross_entropy", "squared_error")
    told = [experiment.evaluation_settings(kind) for kind in kinds]
    assert told[1] == told[0] | {"loss": "squared_error"} != told[0]


def test_the_next_call_keeps_both_tracks(copy, monkeypatch):
    def refused(*arguments, **options):
        raise AssertionError("made again")

    shutil.rmtree(copy / "extractors")
    monkeypatch.setattr(features, "mean_logits", refused)
    monkeypatch.setattr(evaluate.ResultStore, "put", refused)
    before = {p: p.read_bytes() for p in copy.rglob("*.npz")}
    run(copy, "evaluate")
    assert before == {p: p.read_bytes() for p in copy.rglob("*.npz")}
    assert not (copy / "extractors").exists()


def test_damaged_labels_are_made_again_to_the_byte(copy):
    path = copy / tracks.FOLDER / distilled.ARRAYS
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    run(copy, "evaluate")
    assert path.read_bytes() == content
    assert any(content[:-1] == one.read_bytes() for one in path.parent.glob("*npz?*"))


def test_another_temperature_is_another_experiment(copy):
    with pytest.raises(configuration.ConfigError, match=r"soft_temperature: 2.0 -> 3.0"):
        run(copy, "evaluate", **{"evaluate.soft_temperature": 3.0})


def test_a_report_with_soft_labels_does_not_give_way_to_one_without(copy):
    (copy / page.FILE).write_text("the report")
    with pytest.raises(configuration.ConfigError, match=r"soft_labels: True -> False"):
        run(copy, "evaluate", **{"evaluate.soft_labels": False})


def test_without_a_set_no_teacher_is_trained(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the stage 'distill'"):
        run(tmp_path, "evaluate")
    assert not (tmp_path / "extractors").exists()


def test_soft_labels_of_other_images_are_shown_nowhere(copy):
    assert tracks.with_soft([copy]) == [copy, copy / tracks.FOLDER]
    result, card = distilled.load(copy)
    distilled.save(copy, result, card | {"seed": 0})
    assert tracks.soft(copy) is not None
    changed = distilled.DistilledSet(0.5 * result.images, result.labels, "mosaic", 2, 3)
    distilled.save(copy, changed, card)
    assert tracks.with_soft([copy]) == [copy]


def test_the_table_has_a_line_for_each_track(finished):
    rows = table.gather(tracks.with_soft([finished]), configuration.OF_THE_RUN)
    assert {row["labels"] for row in rows} == {"hard", "soft, T 2, ADSA"}
    text = table.table(rows)
    assert "| method | labels | network |" in text and tracks.NOTE in text
    assert "| random | soft, T 2, ADSA | convnet | 1 x 1 |" in text
    own = table.table(table.gather([finished], configuration.OF_THE_RUN))
    assert "| method | network |" in own and tracks.NOTE not in own
    shown = page.render([page.read(finished)], rows=rows, tables=table.tables(rows))
    assert "<td>soft, T 2, ADSA</td>" in shown and "corrected for the sizes" in shown


def test_a_row_of_labels_of_a_method_s_own_has_no_temperature(copy, finished):
    result, card = distilled.load(copy)
    card["config"]["evaluate"]["soft_temperature"] = 5.0
    distilled.save(copy, result, card | {"seed": 1})
    (row,) = table.gather([finished, copy], configuration.OF_THE_RUN)
    assert row["seeds"] == [0, 1] and row["track"] == "own"


def test_rows_of_other_teachers_are_not_averaged(copy, finished):
    folders = [finished / tracks.FOLDER, copy / tracks.FOLDER]
    (row,) = table.gather(folders, configuration.OF_THE_RUN)
    assert row["networks"] == 2
    result, card = distilled.load(folders[1])
    card[tracks.SOFT]["temperature"] = 5.0
    distilled.save(folders[1], result, card)
    assert len(table.gather(folders, configuration.OF_THE_RUN)) == 2


def test_the_page_of_a_run_compares_within_its_track(finished):
    for folder, track in ((finished, "own"), (finished / tracks.FOLDER, "soft")):
        rows = table.gather(tracks.with_soft([finished]), configuration.OF_THE_RUN)
        better = [row | {"last": 0.0 if row["track"] == track else 99.0} for row in rows]
        compared = page._comparable(better, page.read(folder))
        assert [row["track"] for row in compared.values()] == [track]


def test_networks_of_both_tracks_are_pairs(finished):
    own, soft = pairs.networks(finished), pairs.networks(finished, "random", soft=True)
    assert own.keys() == soft.keys() == {(0, "convnet", 1000)}
    card = files.read_sealed_json(finished / tracks.FOLDER / distilled.CARD)
    assert soft[0, "convnet", 1000]["all"] == card["accuracies"]["convnet"][0]["last"]
    with pytest.raises(ValueError, match="no evaluated run"):
        pairs.networks(finished.parent / "own", soft=True)


@pytest.mark.parametrize("name", ["npz", "safetensors", None])
def test_an_exported_set_is_scored_with_its_soft_labels(finished, tmp_path, name):
    folder = finished / tracks.FOLDER
    if name:
        made = exporting.export_set(folder, name, folder := tmp_path / "out")
        assert made[tracks.SOFT]["temperature"] == 2.0 and made["images"] == "decoded"
        assert made["label_kind"].startswith("soft (class probabilities")
    result, _ = distilled.load(finished / tracks.FOLDER)
    found = scored.read(folder, tiny_dataset(), Facts())
    assert found.soft and found.facts["soft_labels"]["teacher"]["count"] == 2
    np.testing.assert_allclose(found.targets, result.labels, atol=1e-6)
    np.testing.assert_allclose(found.images, result.training_data()[0], atol=1e-6)
    heading = score_table._labels(found.facts)
    assert heading == "labels by the mean of 2 networks (soft, T 2, ADSA)"


def test_the_class_of_an_image_with_soft_labels_is_the_one_it_was_made_for():
    images, labels = np.zeros((6, 8, 8, 3), np.float32), np.full((6, 3), 1 / 3, np.float32)
    soft = distilled.DistilledSet(images, labels, "mosaic", 2, 3)
    np.testing.assert_array_equal(labelling.own_classes(soft, 24), np.repeat(np.arange(3), 8))
    hard = distilled.DistilledSet(images, np.int32([0, 0, 0, 1, 1, 2]), "pixels", 1, 3)
    np.testing.assert_array_equal(labelling.own_classes(hard, 6), [0, 0, 0, 1, 1, 2])


def test_the_teacher_is_the_configuration_s_under_published_recipes(tmp_path):
    config = settings(recipe="published", method="dm", **{"distill.initialisation": "random"})
    base = Experiment(config, tmp_path, dataset=tiny_dataset())
    assert base.of("dm") is not base and labelling.teacher_of(base.of("dm")) is base
    assert labelling.teacher_of(base) is base


def test_soft_labels_need_the_pool_whatever_the_method(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Supplies, "_own_pool", lambda self, on_host: asked.append(1) or _pool())
    monkeypatch.setattr(Experiment, "tested", False)
    run(tmp_path, "extractors")
    assert asked == [1]


def _pool():
    return Pool({"w": jax.numpy.zeros((2, 1))}, {"w": jax.numpy.zeros((2, 1))})


@pytest.mark.parametrize(("wanted", "asked"), [(True, 1), (False, 0)])
def test_every_process_takes_part_where_evaluation_needs_the_teacher(monkeypatch, wanted, asked):
    pools = []

    class Follower:
        config, runs = settings(**{"evaluate.soft_labels": wanted}), ()
        supplies = property(lambda self: self)

        @property
        def pool(self):
            pools.append(_pool())
            return pools[0]

    monkeypatch.setattr(cluster, "first_says", lambda answer: True)
    stages.follow(Follower(), ["evaluate"], [])
    assert len(pools) == asked
