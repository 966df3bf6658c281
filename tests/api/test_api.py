"""Arrays in memory, distilled, tested and compared by the engine of the command line."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

import csdm_jax
from csdm_jax.api import evaluating
from csdm_jax.api.given import configuration_of
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import stages
from csdm_jax.sets import distilled

SMALL = {
    "network.width": 4,
    "network.depth": 2,
    "extractors.count": 1,
    "extractors.epochs": 1,
    "distill.steps": 2,
    "distill.batch": 8,
    "distill.checkpoint_every": 1,
    "distill.loss_scale": 300.0,  # settling it traces the step twice more
    "sdd.num_frequencies": 16,
    "evaluate.epochs": 2,
    "evaluate.check_every": 2,
    "evaluate.count": 2,
    **{f"{name}.augmentation": "none" for name in ("extractors", "distill", "evaluate")},
    "evaluate.cutmix": 0.0,
    "evaluate.batch": 40,
}


@pytest.fixture(scope="module")
def arrays():
    digits = load_digits()
    return digits.images / 16, digits.target.astype(str)


@pytest.fixture(scope="module")
def made(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return csdm_jax.distil(*arrays, ipc=1, preset="cpu", workdir=folder, fields=SMALL)


def test_the_set_has_images_labels_and_a_card(made):
    assert made.images.shape == (40, 8, 8, 1) and made.images.dtype == np.float32
    assert made.images.min() >= 0 and made.images.max() <= 1
    np.testing.assert_array_equal(made.labels, np.repeat(np.arange(10), 4))
    assert made.card["class_names"] == [str(k) for k in range(10)]
    assert made.card["method"] == "csdm" and "accuracies" not in made.card
    assert repr(made) == f"Distilled(csdm, 40 x 8 x 8 x 1, {str(made.folder)!r})"


def test_the_bytes_are_those_of_the_command(made, arrays, tmp_path):
    np.savez(tmp_path / "digits.npz", x_train=arrays[0], y_train=arrays[1],
             x_test=arrays[0][:9], y_test=arrays[1][:9])  # fmt: skip
    config = configuration.load("own_data:source=npz,ipc=1,cpu")
    config.data.data_dir = str(tmp_path / "digits.npz")
    config.update_from_flattened_dict(SMALL)
    for stage in ("extractors", "distill"):
        stages.run(config, tmp_path / "run", stage=stage)
    for name in (distilled.ARRAYS, "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (made.folder / name).read_bytes()


def test_the_same_call_goes_on_where_a_run_was_stopped(made, arrays, tmp_path, monkeypatch):
    shutil.copytree(made.folder, tmp_path / "stopped")
    kept = sorted((tmp_path / "stopped" / "checkpoints").glob("[0-9]*"))
    assert len(kept) == 2
    shutil.rmtree(kept[-1])  # what is left is the state after the first step
    (tmp_path / "stopped" / distilled.ARRAYS).unlink()
    again = csdm_jax.distil(
        *arrays, ipc=1, preset="cpu", workdir=tmp_path / "stopped", fields=SMALL
    )
    np.testing.assert_array_equal(again.images, made.images)
    monkeypatch.setattr(stages, "distill", None)  # finished: nothing is distilled again
    csdm_jax.distil(*arrays, ipc=1, preset="cpu", workdir=tmp_path / "stopped", fields=SMALL)
    with pytest.raises(ValueError, match="another configuration"):
        csdm_jax.distil(*arrays, ipc=2, preset="cpu", workdir=tmp_path / "stopped", fields=SMALL)


def test_other_data_and_other_settings_have_other_folders(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"preset": "cpu", "fields": SMALL, "method": "random", "ipc": 1}
    folders = [csdm_jax.distil(*arrays, **given).folder for _ in range(2)]
    folders.append(csdm_jax.distil(arrays[0] / 2, arrays[1], **given).folder)
    folders.append(csdm_jax.distil(*arrays, **given, seed=1).folder)
    assert folders[0] == folders[1] and len(set(folders)) == 3
    assert all(folder.parent.name == "runs" for folder in folders)


def test_numbers_of_numpy_and_lists_are_values_of_fields():
    fields = {"sdd.scale": np.float32(3), "distill.steps": np.int64(4), "baselines": ["dm"]}
    seeds = (np.int64(1),)
    config = configuration_of(1, 0.0, "cpu", {"distill.seeds": seeds}, fields)
    assert (config.sdd.scale, config.distill.steps) == (3.0, 4)
    assert config.distill.seeds == (1,) and config.baselines == ("dm",)
    config = configuration_of(1, 0.0, "cpu", {}, {"distill.seeds": np.arange(2)})
    assert config.distill.seeds == (0, 1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"mean": np.zeros(3)}, "mean must be one number for each channel, here 1"),
        ({"std": [0.0]}, "must be positive, got .*: give std"),
        ({}, "must be positive, got .*: give std"),
    ],
)
def test_what_no_network_could_read_is_refused(asked, message):
    images = np.full((4, 8, 8, 1), 0.5)
    with pytest.raises(ValueError, match=message):
        csdm_jax.evaluate(images, [0, 1, 0, 1], test=(images, [0, 1, 0, 1]), preset="cpu", **asked)


def test_it_is_saved_reported_and_handed_to_torch(made, tmp_path):
    made.save(tmp_path / "png", format="png")
    assert len(list((tmp_path / "png").rglob("*.png"))) == 40
    made.report(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("<img") >= 10
    assert csdm_jax.Distilled.load(made.folder).card == made.card
    torch = pytest.importorskip("torch", exc_type=ImportError)
    images, labels = made.to_torch()[:]
    assert images.shape == (40, 1, 8, 8) and labels.dtype == torch.int64
    back = images.numpy().transpose(0, 2, 3, 1) * made.card["std"] + made.card["mean"]
    np.testing.assert_allclose(back, made.images, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "gpu"}, "unknown preset 'gpu': choose one of paper, cpu"),
        ({"fields": {"sdd.scael": 1.0}}, "scael"),
        ({"fields": {"steps": 5}}, r"did you mean config\.distill\.steps or config\.traject"),
        ({"test": np.zeros((2, 8, 8))}, r"test must be a pair, got ndarray: give test=\(images"),
        ({"test": (1, 2, 3)}, "test must be a pair, got tuple of length 3: give"),
        ({"fields": {"learning_rate": 1.0}}, r"config\.distill\.learning_rate or .*evaluate"),
        ({"fields": {"sdd.scale": -1.0}}, "it must be a number in"),
        ({"method": "csmd"}, "did you mean 'csdm'"),
        ({"holdout": 0.2, "test": (np.zeros((2, 8, 8)), ["0", "1"])}, "has test images of its own"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(given, message, arrays, tmp_path):
    with pytest.raises(ValueError, match=message):
        csdm_jax.distil(*arrays, ipc=1, workdir=tmp_path / "none", **given)
    assert not (tmp_path / "none").exists()


def test_a_set_is_tested_as_the_command_tests_it(arrays, tmp_path):
    test = arrays[0][:100], arrays[1][:100]
    given = {"preset": "cpu", "test": test, "method": "random", "seed": 1}
    run = csdm_jax.distil(*arrays, ipc=1, workdir=tmp_path, fields=SMALL, **given)
    found = csdm_jax.evaluate(run, test=test, count=2, preset="cpu", fields=SMALL)
    expected = [one["last"] for one in run.card["accuracies"]["convnet"]]
    assert [one.last for one in found.results["convnet"]] == expected
    run.report(tmp_path / "page.html")
    assert "accuracy after the last epoch" in (tmp_path / "page.html").read_text()
    mean, half = found.interval("convnet")
    assert mean == pytest.approx(np.mean(expected))
    assert half == pytest.approx(12.706 * np.std(expected, ddof=1) / np.sqrt(2), rel=1e-4)
    assert set(found.groups("convnet")) == {"many", "medium", "few"}
    assert f"| convnet | 2 | {mean:.1f} |" in str(found)
    soft = np.eye(10)[run.labels]
    again = csdm_jax.evaluate(run.images, soft, test=test, count=1, preset="cpu", fields=SMALL)
    assert again.by_class("convnet").shape == (10,) and again.groups("convnet") == {}
    with pytest.raises(ValueError, match="test must be a pair, got ndarray"):
        csdm_jax.evaluate(run, test=test[0], preset="cpu")
    with pytest.raises(ValueError, match="bring both to one size"):
        csdm_jax.evaluate(run, test=(np.zeros((3, 9, 9)), [0, 1, 2]), preset="cpu")
    wrong = [
        (run.images * 3, run.labels, "undo the normalisation"),
        (run.images, run.labels - 1, r"labels must lie in 0\.\.9, got -1\.\.8"),
        (run.images, run.labels / 2, "labels .n. must be integers"),
        (run.images, 2 * soft, "soft labels must be probabilities"),
    ]
    for images, labels, message in wrong:
        with pytest.raises(ValueError, match=message):
            csdm_jax.evaluate(images, labels, test=(test[0], test[1].astype(int)), preset="cpu")


def test_a_set_with_its_own_learning_rate_is_tested_by_gradient_descent_with_it(made, monkeypatch):
    asked = []
    monkeypatch.setattr(
        evaluating.engine, "evaluate", lambda *a, trainer, **k: asked.append(trainer)
    )
    stored = dataclasses.replace(made.set, lr=0.25)
    test = np.zeros((2, 8, 8)), ["3", "4"]
    for one in (made, dataclasses.replace(made, set=stored)):
        csdm_jax.evaluate(one, test=test, preset="cpu", fields=SMALL)
    assert [(one.recipe.optimiser, one.recipe.learning_rate) for one in asked] == [
        ("adamw", 1e-3),
        ("sgd", 0.25),
    ]


def test_fields_of_the_data_say_how_the_arrays_are_read(arrays, tmp_path):
    given = {"ipc": 1, "preset": "cpu", "method": "random", "workdir": tmp_path}
    fields = SMALL | {"data.holdout": 0.5, "data.seed": 3, "evaluate.count": 1}
    card = csdm_jax.distil(*arrays, **given, fields=fields).card
    assert card["data"]["holdout"] == 0.5 and card["data"]["holdout_seed"] == 3
    assert "accuracies" in card


PROGRESS = """
from absl import logging
from csdm_jax.api.given import shown

for verbosity in (logging.get_verbosity(), logging.ERROR):
    logging.set_verbosity(verbosity)
    with shown():
        logging.info("half of it")
    assert logging.get_verbosity() == verbosity
"""


def test_progress_is_shown_once_and_not_where_errors_alone_were_asked_for():
    done = subprocess.run([sys.executable, "-c", PROGRESS], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.count("half of it") == 1, done.stderr


def test_methods_are_compared_by_the_same_networks(arrays, tmp_path):
    found = csdm_jax.compare_methods(
        *arrays,
        methods=("random", "dm"),
        ipc=1,
        holdout=0.3,
        preset="cpu",
        workdir=tmp_path,
        fields=SMALL,
    )
    assert {row["method"] for row in found.rows} == {"random", "dm"}
    overall = found.differences["random"][0]
    assert overall.group == "all" and list(overall.by_seed) == [0, 1]
    rows = {row["method"]: row["last"] for row in found.rows}
    assert overall.interval()[0] == pytest.approx(rows["dm"] - rows["random"], abs=0.02)
    assert "dm - random, in points" in str(found) and "95 % interval" in str(found)
    with pytest.raises(ValueError, match="give names, the one that others are compared with last"):
        csdm_jax.compare_methods(*arrays, methods=(), ipc=1, holdout=0.3)
