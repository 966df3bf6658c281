"""Scoring of sets from anywhere, on the embedded digits at their smallest."""

import functools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from csdm_jax import data
from csdm_jax.data.longtail import build_longtail
from csdm_jax.evaluation import evaluate
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.experiment.sections import Kind
from csdm_jax.scoring import scorer as scoring
from csdm_jax.scoring import table
from csdm_jax.scoring.references import References, real_sets
from csdm_jax.scoring.scored import read
from csdm_jax.scoring.scorer import Scorer
from csdm_jax.sets import distilled
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.sets.exporting import export_set
from csdm_jax.sets.formats import FORMATS
from csdm_jax.sets.formats.facts import Facts

ROOT = Path(__file__).parent.parent.parent
DIGITS = data.load("digits")
FIELDS = {
    "network.width": 8,
    "extractors.epochs": 2,
    "evaluate.count": 2,
    "evaluate.epochs": 20,
    "evaluate.check_every": 10,
    "evaluate.learning_rate": 0.01,
}


def tiny_config(**fields):
    config = configuration.default_config()
    config.update_from_flattened_dict(
        {
            "data.imbalance_factor": 10.0,
            "data.rule": "seeded",
            "evaluate.batch": 20,
            "evaluate.augmentation": "crop",
            "extractors.batch": 64,
            **FIELDS,
            **fields,
        }
    )
    return config


def digit_images(per_class):
    """Real digits in [0, 1], float32 `[10 * per_class, 8, 8, 1]`, class-major, and labels."""
    rows = [np.flatnonzero(DIGITS.train_labels == label)[:per_class] for label in range(10)]
    images = DIGITS.train_images[np.concatenate(rows)].astype(np.float32) / 255
    return images, np.repeat(np.arange(10, dtype=np.int32), per_class)


def digit_run(folder, *, mosaic=False, labels=None, **card):
    """Digits as a run leaves them."""
    images, hard = digit_images(2)
    stored = DistilledSet(
        images, hard if labels is None else labels, "mosaic" if mosaic else "pixels", 2, 10
    )
    card = {"mean": list(DIGITS.mean), "std": list(DIGITS.std)} | card
    distilled.save(folder, stored, card)
    return folder


def soft_labels():
    """`[20, 10]` probabilities whose likeliest class is the image's."""
    return (0.6 * np.eye(10, dtype=np.float32)[digit_images(2)[1]] + 0.04).astype(np.float32)


def command(*flags):
    fields = (f"--config.{name}={value}" for name, value in FIELDS.items())
    return subprocess.run(
        [sys.executable, "-m", "csdm_jax.score", "--config=configs/digits_lt.py", *fields, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


@functools.cache
def theirs(folder):
    """Sets in NCFM's and MTT's layout, both of 4 training images a class, without a card."""
    torch = pytest.importorskip("torch")
    mosaics, labels = digit_images(1)
    pair = [torch.from_numpy(mosaics).permute(0, 3, 1, 2), torch.from_numpy(labels).long()]
    torch.save(pair, folder / "data_20000.pt")
    images, labels = digit_images(4)
    normalised = (1.2 * images - np.float32(DIGITS.mean)) / np.float32(DIGITS.std)
    torch.save(torch.from_numpy(normalised).permute(0, 3, 1, 2), folder / "images_best.pt")
    torch.save(torch.from_numpy(labels).long(), folder / "labels_best.pt")
    return folder


@pytest.fixture(scope="module")
def ncfm_score(tmp_path_factory):
    folder = theirs(tmp_path_factory.mktemp("theirs"))
    flags = (f"--workdir={folder / 'ncfm'}", f"--references={folder / 'references'}")
    return folder, command(str(folder / "data_20000.pt"), *flags)


def test_a_set_in_ncfm_s_layout_is_scored(ncfm_score):
    folder, result = ncfm_score
    assert result.returncode == 0, result.stderr
    score = json.loads((folder / "ncfm" / "score.json").read_text())
    assert result.stdout.startswith((folder / "ncfm" / "score.md").read_text())
    assert "is taken to be in the format ncfm" in result.stderr
    assert re.search(r"scores of convnet: at most 14 more networks, .* at the pace", result.stderr)
    assert (score["set"]["training_images"], score["set"]["per_class"]) == (40, [4] * 10)
    last = score["accuracy"]["convnet"]["last"]
    assert len(last["values"]) == 2 and last["half_width"] > 0
    assert last["half_width"] > last["mean"]  # two networks: the interval would begin below 0
    high = last["mean"] + last["half_width"]
    assert f"| convnet | 2 | {last['mean']:.1f} (0.0 to {high:.1f}) |" in result.stdout
    assert len(score["accuracy"]["convnet"]["by_class"]) == 10
    assert set(score["robust"]["convnet"]) == {"balanced", "long-tailed"}
    for found in score["robust"]["convnet"].values():
        values = {name: np.array(one["values"]) for name, one in found.items()}
        np.testing.assert_allclose(values["own"], np.array(last["values"]) / 100)
        alpha = (values["own"] - values["random"] - values["full"] + values["hard"]) / 2
        expected = (np.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))
        np.testing.assert_allclose(values["lrs"], expected)
        mean, half = found["lrs"]["mean"], found["lrs"]["half_width"]
        cut = f"{mean:.3f} ({max(0, mean - half):.3f} to {min(1, mean + half):.3f})"
        whole = half <= mean <= 1 - half
        assert (f"{mean:.3f} ± {half:.3f}" if whole else cut) in result.stdout


def test_a_set_in_mtt_s_layout_is_scored_with_the_same_references(ncfm_score):
    folder, _ = ncfm_score
    kept = {path: path.stat().st_mtime_ns for path in (folder / "references").rglob("*.*")}
    flags = (f"--workdir={folder / 'mtt'}", f"--references={folder / 'references'}")
    refused = command(str(folder / "images_best.pt"), *flags)
    assert refused.returncode == 1 and "space=normalised or space=zca" in refused.stderr
    assert not (folder / "mtt").exists()
    result = command(str(folder / "images_best.pt"), *flags, "--space=normalised")
    assert result.returncode == 0, result.stderr
    first, second = (
        json.loads((folder / name / "score.json").read_text()) for name in ("ncfm", "mtt")
    )
    kinds = {"evaluations", "score.json", "score.md", ".lock"}
    assert {path.name for path in (folder / "mtt").iterdir()} == kinds
    assert second["set"]["format"] == "mtt" and second["set"]["outside"] > 0.01
    assert second["set"]["value_range"][1] == pytest.approx(1.2)
    for name in ("full", "random", "random_plain"):
        for real, found in second["robust"]["convnet"].items():
            assert found[name] == first["robust"]["convnet"][real][name]
    assert kept == {path: path.stat().st_mtime_ns for path in (folder / "references").rglob("*.*")}


def test_the_same_command_goes_on_from_what_is_kept(ncfm_score):
    folder, _ = ncfm_score
    before = (folder / "ncfm" / "score.json").read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("network-*")}
    missing, *_ = (folder / "ncfm" / "evaluations" / "convnet" / "own").iterdir()
    missing.unlink()
    flags = (f"--workdir={folder / 'ncfm'}", f"--references={folder / 'references'}")
    result = command(str(folder / "data_20000.pt"), *flags)
    assert result.returncode == 0, result.stderr
    assert (folder / "ncfm" / "score.json").read_bytes() == before
    now = {path: path.stat().st_mtime_ns for path in kept}
    assert [path for path in kept if kept[path] != now[path]] == [missing]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("absent",), "absent does not exist"),
        ((), "give one file or folder"),
        (("absent", "--mean=a,b"), "--mean must be numbers joined by commas, got 'a,b'"),
        (("absent", "--format=hdf5"), "value should be one of <npz|safetensors|png"),
        (("absent", "--config.evaluate.epochs=0"), "config.evaluate.epochs = 0: it must be"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(flags, message, tmp_path):
    result = command(*flags, f"--workdir={tmp_path / 'none'}")
    assert result.returncode == 1 and message in result.stderr + result.stdout
    assert "Traceback" not in result.stderr and not (tmp_path / "none").exists()


def test_accuracy_alone_needs_no_references(tmp_path, capsys):
    run = digit_run(tmp_path / "run", mosaic=True)
    config = tiny_config(**{"evaluate.networks": ("convnet",), "distill.ipc": 1000})
    score = scoring.run(config, run, tmp_path / "score", references=None)
    assert "robust" not in score and "LRS" not in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "score").iterdir()} == {
        ".lock",
        "evaluations",
        "score.json",
        "score.md",
    }


# What is read.


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_as_the_same_training_images(tmp_path, name):
    if name in ("ddranking", "ncfm", "dcbench", "mtt"):
        pytest.importorskip("torch")
    run = digit_run(tmp_path / "run", mosaic=True, class_names=list(DIGITS.class_names))
    export_set(run, name, tmp_path / "out")
    scored = read(tmp_path / "out", DIGITS, Facts())
    images, targets = distilled.load(run)[0].training_data()
    tolerance = 0.5 / 255 + 1e-6 if name in ("png", "tfds") else 1e-6
    np.testing.assert_allclose(scored.images, images, atol=tolerance)
    np.testing.assert_array_equal(scored.targets, targets)
    assert scored.facts["format"] == name and scored.per_class == [8] * 10


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"class_names": [f"digit {n}" for n in range(10)]}, r"class_names \('digit 0'"),
        ({"image_shape": [16, 16, 1]}, r"image_shape \(16, 16, 1\).*digits has \(8, 8, 1\)"),
    ],
)
def test_a_card_of_other_data_is_refused(tmp_path, card, message):
    run = digit_run(tmp_path / "run", **card)
    with pytest.raises(ValueError, match=f"says {message}.*--config"):
        read(run, DIGITS, Facts())


def test_a_set_of_fewer_classes_is_refused(tmp_path):
    images, labels = digit_images(2)
    distilled.save(tmp_path, DistilledSet(images[:6], labels[:6], "pixels", 1, 3), {})
    with pytest.raises(ValueError, match=r"says classes 3, the data set digits has 10"):
        read(tmp_path, DIGITS, Facts())


def test_numbers_in_place_of_class_names_contradict_nothing(tmp_path):
    named = DIGITS.__class__(**{**vars(DIGITS), "class_names": tuple("abcdefghij")})
    run = digit_run(tmp_path / "run", class_names=[str(number) for number in range(10)])
    assert read(run, named, Facts()).per_class == [2] * 10


def test_numbered_classes_are_matched_by_name_whatever_their_order(tmp_path):
    """A set in number order, scored on folders that were sorted as text: nothing is mislabelled."""
    images, labels = digit_images(1)
    names = [str(number) for number in range(10)]
    as_text = ("0", "1", "10", *names[2:9])  # of the numbers 0..8 and 10
    numbered = [*names[:9], "10"]
    distilled.save(
        tmp_path / "run", DistilledSet(images, labels, "pixels", 1, 10),
        {"class_names": numbered, "mean": list(DIGITS.mean), "std": list(DIGITS.std)},
    )  # fmt: skip
    shown = DIGITS.__class__(**{**vars(DIGITS), "class_names": as_text})
    scored = read(tmp_path / "run", shown, Facts())
    for label, image in zip(scored.targets.argmax(1), scored.images, strict=True):
        original = int(np.flatnonzero([np.array_equal(image, one) for one in images])[0])
        assert as_text[int(label)] == numbered[labels[original]]
    permuted = DIGITS.__class__(**{**vars(DIGITS), "class_names": tuple(reversed(names))})
    run = digit_run(tmp_path / "plain", class_names=names)
    targets = read(run, permuted, Facts()).targets.argmax(1)
    assert targets.tolist() == np.repeat(np.arange(10), 2).tolist()
    first = read(run, permuted, Facts()).images[0]
    np.testing.assert_array_equal(first, digit_images(2)[0][18])


def test_the_only_reference_of_a_set_that_is_kept_whole_is_all_images(tmp_path):
    config = tiny_config(**{"data.rule": "none"})
    (whole,) = real_sets(Experiment(config, tmp_path))
    assert whole.name == "all images" and len(whole.images) == 1297


def test_classes_are_listed_head_to_tail_in_the_table_of_a_score():
    score = known_score()
    score["data"] |= {"counts": [1, 9, 5]}
    text = table.markdown(score)
    assert text.index("| green | 9") < text.index("| blue | 5") < text.index("| red | 1")


def test_a_set_is_told_from_others_by_its_arrays(tmp_path):
    digests = [
        read(digit_run(tmp_path / str(n), **kind), DIGITS, Facts()).facts["sha256"]
        for n, kind in enumerate([{}, {"note": "x"}, {"mosaic": True}, {"labels": soft_labels()}])
    ]
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_images_are_brought_back_with_the_mean_they_were_normalised_with(tmp_path):
    torch = pytest.importorskip("torch")
    images, labels = digit_images(2)
    torch.save(torch.from_numpy((images - 0.25) / 0.5).permute(0, 3, 1, 2), tmp_path / "images.pt")
    torch.save(torch.from_numpy(labels).long(), tmp_path / "labels.pt")
    said = Facts(mean=(0.25,), std=(0.5,))
    np.testing.assert_allclose(read(tmp_path, DIGITS, said).images, images, atol=1e-6)
    scored = read(tmp_path, DIGITS, Facts())
    expected = (images - 0.25) / 0.5 * DIGITS.std[0] + DIGITS.mean[0]
    np.testing.assert_allclose(scored.images, expected, atol=1e-5)


def test_hard_targets_are_the_likeliest_classes(tmp_path):
    scored = read(digit_run(tmp_path / "run", labels=soft_labels()), DIGITS, Facts())
    assert scored.soft and scored.facts["labels"] == "soft"
    np.testing.assert_allclose(scored.targets, soft_labels(), atol=1e-6)
    np.testing.assert_array_equal(scored.hard_targets, np.eye(10)[digit_images(2)[1]])


# What is trained.


@pytest.fixture(scope="module")
def soft_score(tmp_path_factory):
    """A set with soft labels and 2 images a class, and its scorer and references."""
    folder = tmp_path_factory.mktemp("soft")
    scored = read(digit_run(folder / "run", labels=soft_labels()), DIGITS, Facts())
    experiment = Experiment(tiny_config(**{"distill.ipc": 1}), folder / "score")
    references = References(experiment, folder / "references")
    return experiment, scored, Scorer(experiment, scored).robust(references), references


def test_soft_labels_are_left_out_of_the_hard_label_recovery_alone(soft_score):
    experiment, _, robust, _ = soft_score
    found = robust["convnet"]["balanced"]
    assert found["own"]["values"] != found["hard"]["values"]
    np.testing.assert_allclose(
        found["hlr"]["values"], np.subtract(found["full"]["values"], found["hard"]["values"])
    )
    np.testing.assert_allclose(
        found["ior"]["values"], np.subtract(found["own"]["values"], found["random"]["values"])
    )
    kinds = {path.name for path in (experiment.workdir / "evaluations" / "convnet").iterdir()}
    assert kinds == {"own", "hard", "plain"}


def test_networks_without_augmentation_are_others(soft_score):
    _, _, robust, _ = soft_score
    for found in robust["convnet"].values():
        augmented, plain = ((found[f"own{one}"], found[f"random{one}"]) for one in ("", "_plain"))
        assert augmented != plain  # one pair alone may be at chance


def test_the_plain_recipe_has_neither_augmentation_nor_cutmix(soft_score):
    experiment, *_ = soft_score
    augmented, plain = (experiment.trainer("convnet", Kind(one)).recipe for one in (True, False))
    assert augmented.augmentation.ops == ("crop",) and augmented.cutmix == 0.5
    assert plain.augmentation.ops == () and plain.cutmix == 0
    assert experiment.evaluation_settings(Kind(False))["cutmix"] == 0


def test_the_loss_of_soft_labels_is_for_the_set_s_own_labels_alone(soft_score, monkeypatch):
    experiment, scored, *_ = soft_score
    kinds = []

    def evaluate_nothing(*arguments, kind, **options):
        kinds.append(kind)
        return []

    monkeypatch.setattr(experiment, "evaluate", evaluate_nothing)
    scorer = Scorer(experiment, scored)
    for which in ({}, {"augmented": False}, {"hard": True}):
        scorer._results("convnet", **which)
    assert kinds == [Kind(soft=True), Kind(False, soft=True), Kind()]


def test_random_images_are_as_many_real_ones_of_each_class(soft_score):
    _, _, _, references = soft_score
    balanced, longtailed = references.sets
    wanted = [3, *[1] * 8, 30]  # the last class of the long-tailed set has fewer
    for real in (balanced, longtailed):
        images, targets = references._draw(real, wanted, seed=1000)
        assert np.asarray(targets).sum(0).tolist() == wanted
        own = real.images.take(np.arange(len(real.images))).astype(np.float32) / 255
        for image, label in zip(np.asarray(images), np.argmax(targets, 1), strict=True):
            rows = np.flatnonzero(np.abs(own - image).max((1, 2, 3)) < 1e-6)
            assert label in real.images.labels[rows]
    first, again, other = (references._draw(balanced, wanted, n)[0] for n in (1000, 1000, 1001))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_references_are_the_whole_and_the_long_tailed_training_set(soft_score):
    _, _, _, references = soft_score
    balanced, longtailed = references.sets
    assert (balanced.name, longtailed.name) == ("balanced", "long-tailed")
    counts = np.bincount(DIGITS.train_labels).tolist()
    assert list(balanced.images.counts) == balanced.identity["counts"] == counts
    expected = build_longtail(DIGITS.train_labels, 10, imbalance_factor=10.0).counts
    assert longtailed.images.counts == expected


def test_random_images_of_a_set_with_soft_labels_are_labelled_by_networks(soft_score):
    experiment, _, _, references = soft_score
    real = references.sets[0]
    images, _ = references._draw(real, [2] * 10, seed=1000)
    pool = references._pool("convnet", real)
    for number in range(2):
        taught = references._taught("convnet", real, number, images)
        params = jax.tree.map(lambda leaf, k=number: leaf[k], pool.trained)
        logits, _ = experiment.network.apply(params, experiment.normaliser(images))
        np.testing.assert_allclose(taught, jax.nn.softmax(logits), atol=1e-5)


@pytest.mark.parametrize("augmented", [True, False])
@pytest.mark.parametrize("soft", [True, False])
def test_networks_on_random_images_get_the_labels_and_recipe_asked_for(
    soft_score, monkeypatch, soft, augmented
):
    experiment, _, _, references = soft_score
    real = references.sets[1]
    calls = []

    def evaluate_nothing(architecture, images, targets, *, kept, label, seeds, kind):
        calls.append((images, np.asarray(targets), kept, seeds, kind))
        return [evaluate.Result(seeds[0], 10.0, 10.0, [], [])]

    monkeypatch.setattr(experiment, "evaluate", evaluate_nothing)
    kind = {"soft": soft, "augmented": augmented}
    assert references.random("convnet", real, [2] * 10, **kind) == [10.0, 10.0]
    assert [(*call[3], call[4]) for call in calls] == [
        (seed, Kind(augmented, soft=soft)) for seed in (1000, 1001)
    ]
    for number, (images, targets, *_) in enumerate(calls):
        hard = np.repeat(np.eye(10), 2, axis=0)
        expected = references._taught("convnet", real, number, images) if soft else hard
        np.testing.assert_allclose(targets, expected, atol=1e-6)
    kept = [
        references._kept("convnet", real, [2] * 10, soft=one, augmented=other).folder
        for one in (True, False)
        for other in (True, False)
    ]
    assert len(set(kept)) == 4 and calls[0][2].folder == kept[2 * (not soft) + (not augmented)]


def test_scores_of_known_accuracies():
    percent = {
        "full": [90.0, 90.0],
        "hard": [50.0, 50.0],
        "own": [60.0, 80.0],
        "random": [40.0, 40.0],
        "own_plain": [50.0, 50.0],
        "random_plain": [30.0, 30.0],
    }
    found = scoring._scores(percent)

    def u(a):
        return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))

    assert found["hlr"]["mean"] == pytest.approx(0.4)
    assert found["ior"]["values"] == pytest.approx([0.2, 0.4])
    assert found["lrs"]["values"] == pytest.approx([u(-0.1), u(0.0)])
    assert found["ars"]["values"] == pytest.approx([u(0.2), u(0.3)])
    assert found["lrs"]["mean"] == pytest.approx((u(-0.1) + u(0.0)) / 2)
    # Two values: half the interval is t_1(0.975) = 12.7062 times half their distance.
    assert found["ior"]["half_width"] == pytest.approx(12.7062 * 0.1, rel=1e-5)


# What is shown.


def known_score(**changes):
    summary = {"mean": 61.25, "half_width": 2.5, "values": [60.0, 62.5]}
    accuracy = {
        "last": summary,
        "best": summary | {"mean": 63.0},
        "by_class": [90.0, None, 30.0],
        "groups": {"many": 90.0, "few": 30.0},
    }
    return {
        "set": {
            "path": "theirs",
            "format": "mtt",
            "labels": "hard",
            "images": 3,
            "training_images": 3,
            "outside": 0.125,
            "sha256": "0" * 64,
            "notes": ["n"],
            "per_class": [1, 1, 1],
        },
        "data": {"name": "rgb", "counts": [9, 5, 1], "imbalance_factor": 9.0},
        "class_names": ["red", "green", "blue"],
        "settings": {"on": "test", "network": {"width": 128}},
        "accuracy": {"convnet": accuracy, "vgg11": accuracy},
        **changes,
    }


def test_the_tables_without_references():
    text = table.markdown(known_score())
    assert "12.5% of the pixel values outside [0, 1]" in text and "\nnote: n\n" in text
    for name in ("convnet", "vgg11"):
        assert f"| {name} | 2 | 61.2 ± 2.5 | 63.0 | 90.0 | - | 30.0 |" in text
    assert "best (optimistic)" in text and "selected on the test set" in text
    assert "| green | 5 | 1 | - | - |" in text
    assert "LRS" not in text and "TUNING" not in text and "width" not in text


def test_the_tables_name_tuning_images_and_a_single_network():
    score = known_score(settings={"on": "tuning", "network": {"width": 32}})
    score["accuracy"]["convnet"]["last"] = {"mean": 50.0, "half_width": None, "values": [50.0]}
    cut = {"last": {"mean": 97.0, "half_width": 4.0, "values": []}}
    score["accuracy"]["vgg11"] = score["accuracy"]["vgg11"] | cut
    text = table.markdown(score)
    assert "| vgg11 | 0 | 97.0 (93.0 to 100.0) | 63.0 |" in text
    where = "on TUNING images, not the test set of rgb, networks of width 32 (published: 128)"
    assert where in text
    assert "| convnet | 1 | 50.0 | 63.0 |" in text


def test_the_tables_show_scores_as_fractions():
    names = [*table.PARTS, *table.SCORES]
    values = {
        name: {"mean": 0.1 * (number + 1), "half_width": 0.01, "values": []}
        for number, name in enumerate(names)
    }
    text = table.markdown(known_score(robust={"convnet": {"balanced": values}}))
    assert "| convnet | balanced | 0.900 ± 0.010 | 1.000 (0.990 to 1.000) |" in text
    parts = "0.100 | 0.200 | 0.300 | 0.400 | 0.500 | 0.600 | 0.700 | 0.800 |"
    assert f"| convnet | balanced | {parts}" in text


# What others read.


def test_every_export_is_read_by_a_script_with_none_of_our_code(tmp_path):
    pytest.importorskip("torch")
    run = digit_run(tmp_path / "run", mosaic=True, class_names=list(DIGITS.class_names))
    for name in FORMATS:
        export_set(run, name, tmp_path / name)
    program = [sys.executable, "-I", ROOT / "tests" / "read_exports.py", tmp_path / "read.npz"]
    process = subprocess.run(
        [*program, *(tmp_path / name for name in FORMATS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert process.returncode == 0, process.stderr
    images, targets = distilled.load(run)[0].training_data()
    with np.load(tmp_path / "read.npz") as found:
        for name in FORMATS:
            tolerance = 0.5 / 255 + 1e-6 if name in ("png", "tfds") else 1e-6
            np.testing.assert_allclose(found[f"{name}_images"], images, atol=tolerance)
            np.testing.assert_array_equal(found[f"{name}_labels"], np.argmax(targets, 1))


def test_while_tuning_no_reference_sees_what_is_tested_on(soft_score):
    experiment, *_ = soft_score
    config = experiment.config.copy_and_resolve_references()
    config.evaluate.on = "tuning"
    tuned = Experiment(config, experiment.workdir)
    (real,) = real_sets(tuned)
    tested = {image.tobytes() for image in np.asarray(tuned.test_set.images).reshape(-1, 64)}
    known = real.images.take(np.arange(len(real.images))).reshape(-1, 64)
    assert real.name == "long-tailed" and not tested & {image.tobytes() for image in known}


def test_every_network_is_as_wide_as_configured_and_other_code_s_results_count_as_absent(
    tmp_path, monkeypatch
):
    config = tiny_config(**{"network.width": 16, "distill.reuse_images": True})
    experiment = Experiment(config, tmp_path)
    assert experiment.create_network("alexnet").feature_dim == 192 // 8  # of a 1x1 map
    kept = evaluate.ResultStore(tmp_path, {"settings": experiment.evaluation_settings()})
    kept.put(evaluate.Result(1000, 50.0, 60.0, [50.0] * 10, [(20, 1.0, 50.0)]))
    assert kept.get(1000) is not None
    monkeypatch.setattr(evaluate, "FORMAT", evaluate.FORMAT + 1)
    later = evaluate.ResultStore(tmp_path, {"settings": experiment.evaluation_settings()})
    assert later.get(1000) is None
