"""The command line, run as a user runs it, on the embedded digits at their smallest."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from csdm_jax.evaluation import evaluate
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import stages
from tests import commands

ROOT = Path(__file__).parent.parent
SMALL = (
    "--config.network.width=8",
    "--config.extractors.count=1",
    "--config.extractors.epochs=2",
    "--config.distill.steps=4",
    "--config.distill.log_every=2",
    "--config.distill.batch=8",
    "--config.sdd.num_frequencies=16",
    "--config.evaluate.count=2",
    "--config.evaluate.epochs=4",
    "--config.evaluate.check_every=2",
)


def run(*flags, command="main"):
    command = [sys.executable, "-m", f"csdm_jax.{command}", "--config=configs/digits_lt.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, run(*SMALL, f"--workdir={workdir}")


def test_one_command_runs_every_stage_and_prints_the_table(finished):
    workdir, result = finished
    assert result.returncode == 0, result.stderr
    for method in ("random", "dm", "csdm"):
        assert f"| {method} | convnet | 2 x 2 |" in result.stdout
    names = {path.name for path in workdir.iterdir() if path.is_file()}
    assert names == {
        ".lock",
        "card.json",
        "config.json",
        "curves.png",
        "distilled.npz",
        "extractors.json",
        "images.png",
        "metrics.jsonl",
        "report.html",
        "spectrum.json",
        "steps.gif",
        "table.json",
        "table.md",
        "timings.json",
    }


def test_methods_side_by_side_give_what_they_give_one_after_the_other(finished, tmp_path):
    pool = f"--config.extractors.pool_dir={finished[0] / 'extractors'}"
    flags = (*SMALL, pool, "--methods=random,dm", "--jobs=2", f"--workdir={tmp_path}")
    result = run(*flags, command="compare")
    assert result.returncode == 0, result.stderr
    for method in ("random", "dm"):
        assert (tmp_path / "jobs" / method / "run.log").stat().st_size
    for theirs, ours in (("dm-seed0", "."), ("dm-seed1",) * 2, ("random-seed1",) * 2):
        one, other = finished[0] / "runs" / theirs, tmp_path / "runs" / ours
        other = tmp_path if ours == "." else other
        assert (one / "distilled.npz").read_bytes() == (other / "distilled.npz").read_bytes()
        cards = [json.loads((folder / "card.json").read_text()) for folder in (one, other)]
        assert cards[0]["accuracies"] == cards[1]["accuracies"]
    assert "| random | dm | " in result.stdout
    assert "Comparison of methods</h2>" in (tmp_path / "report.html").read_text()


def test_the_card_says_all_that_a_user_of_the_images_needs(finished):
    workdir, _ = finished
    card = json.loads((workdir / "card.json").read_text())
    assert card["method"] == "csdm" and card["layout"] == "NHWC, class-major"
    assert card["value_range"] == [0.0, 1.0] and len(card["mean"]) == 1
    assert card["class_names"] == [str(digit) for digit in range(10)]
    assert "unit features" in card["deviations"]
    assert card["data"]["rule"] == "seeded" and len(card["data"]["sha256"]) == 64
    assert card["config"]["distill"]["steps"] == 4
    assert set(card["versions"]) >= {"csdm_jax", "jax", "flax", "python"}
    assert len(card["accuracies"]["convnet"]) == 2
    timings = json.loads((workdir / "timings.json").read_text())
    stages = {"extractors", "distillation", "evaluation"}
    assert set(timings) == stages | {"peak_memory_bytes", "sha256"}
    assert set(timings["peak_memory_bytes"]) == stages
    assert min(timings["peak_memory_bytes"].values()) > 1e8
    with np.load(workdir / "distilled.npz") as arrays:
        assert arrays["images"].shape == (20, 8, 8, 1)
        np.testing.assert_array_equal(arrays["labels"], np.repeat(np.arange(10), 2))


def test_the_documented_loader_reads_the_set(finished):
    workdir, _ = finished
    page = (ROOT / "docs" / "how-to" / "experiments.md").read_text()
    blocks = re.findall(r"```python notest\n(.*?)```", page, re.S)
    (code,) = (block for block in blocks if "distilled.load" in block)
    names = {}
    exec(code.replace("runs/digits_lt-imb10-ipc2", str(workdir)), names)
    assert names["images"].shape == (20, 8, 8, 1) and names["targets"].shape == (20, 10)
    assert names["card"]["method"] == "csdm"


def test_metrics_have_one_row_a_step(finished):
    workdir, _ = finished
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert all(len(row["amplitude"]) == len(row["phase"]) == 10 for row in rows)


def test_a_run_takes_the_loss_scale_that_its_card_says(finished):
    workdir, _ = finished
    scales = {}
    for folder in (workdir, workdir / "runs" / "csdm-seed1", workdir / "runs" / "dm-seed0"):
        card = json.loads((folder / "card.json").read_text())
        (scale,) = card["settled"].values()
        first = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
        expected = scale * first["matching"] + first["calibration"]
        assert card["config"]["distill"]["loss_scale"] == 0.0
        assert first["loss"] == pytest.approx(expected, rel=1e-4)
        scales[folder.name] = scale
    assert scales["csdm-seed1"] == scales[workdir.name] != scales["dm-seed0"]
    card = json.loads((workdir / "runs" / "random-seed0" / "card.json").read_text())
    assert card["settled"] == {}


def test_memory_is_what_the_run_expected(finished):
    _, result = finished
    found = re.findall(r"(\w+ seed \d): peak memory ([\d.]+) GB, ([\d.]+) expected", result.stderr)
    assert [run for run, *_ in found] == ["dm seed 0", "dm seed 1", "csdm seed 0", "csdm seed 1"]
    for run, measured, expected in found:
        assert float(measured) == pytest.approx(float(expected), rel=0.25), run


def test_every_distillation_seed_has_evaluation_networks_of_its_own(
    finished, tmp_path, monkeypatch
):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    config = configuration.load(str(ROOT / "configs/digits_lt.py"))
    settings = (flag.removeprefix("--config.").split("=") for flag in SMALL)
    config.update_from_flattened_dict({name: int(value) for name, value in settings})
    replicates = []

    def evaluated(*arguments, replicate, **options):
        replicates.append(replicate)
        return [evaluate.Result(1000, 50.0, 60.0, [50.0] * 10, [(4, 1.0, 50.0)])]

    monkeypatch.setattr(evaluate, "evaluate", evaluated)
    stages.run(config, copy, stage="evaluate")
    assert replicates == [0, 1] * 3  # random, dm, csdm


def test_the_page_is_drawn_again_without_the_extractors(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    shutil.rmtree(copy / "extractors")
    (copy / "report.html").unlink()
    result = run(*SMALL, f"--workdir={copy}", "--stage=report")
    assert result.returncode == 0, result.stderr
    page = (copy / "report.html").read_text()
    assert "<h2>Characteristic functions</h2>" in page
    assert page.count("<img") == 10 * (2 + 8 + 3 * 2)  # distilled, real, over the steps
    assert page == (finished[0] / "report.html").read_text()
    assert not (copy / "extractors").exists()


def test_stages_run_alone_give_the_same_images(finished, tmp_path):
    whole, _ = finished
    flags = (*SMALL, f"--workdir={tmp_path}", "--config.baselines=()")
    early = run(*flags, "--stage=evaluate")
    assert early.returncode == 1
    assert "run the stage 'distill' there first" in early.stderr
    for stage in ("extractors", "distill"):
        result = run(*flags, f"--stage={stage}")
        assert result.returncode == 0, result.stderr
    for stage in ("evaluate", "report"):
        result = run(*flags, f"--stage={stage}")
        assert result.returncode == 0, result.stderr
    assert "| csdm | convnet | 2 x 2 |" in result.stdout
    with np.load(whole / "distilled.npz") as one, np.load(tmp_path / "distilled.npz") as other:
        np.testing.assert_array_equal(one["images"], other["images"])


def test_another_configuration_is_refused_in_a_directory_that_was_begun(finished):
    workdir, _ = finished
    flags = (*SMALL, f"--workdir={workdir}", "--stage=evaluate", "--config.baselines=()")
    result = run(*flags, "--config.method=dm", "--config.sdd.scale=2.0")
    assert result.returncode == 1
    assert "begun with another configuration" in result.stderr
    assert "method: 'csdm' -> 'dm'; sdd.scale: 1.0 -> 2.0" in result.stderr


def test_a_set_of_another_configuration_is_not_scored_without_the_config_file(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    (copy / "config.json").unlink()
    flags = (*SMALL, f"--workdir={copy}", "--stage=evaluate", "--config.baselines=()")
    result = run(*flags, "--config.sdd.scale=2.0")
    assert result.returncode == 1
    assert "was made with another configuration (sdd.scale: 1.0 -> 2.0)" in result.stderr


def test_a_finished_run_is_left_alone(finished):
    workdir, _ = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("distilled.npz")}
    again = run(*SMALL, f"--workdir={workdir}")
    assert again.returncode == 0 and "csdm seed 1: distilled before" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("checkpoints/*/manifest.json")}
    assert len(before) == 6 and "| csdm | convnet | 2 x 2 |" in again.stdout


WRONG = [
    ("--config.distill.learning_rate=nan", "config.distill.learning_rate = nan: it must be"),
    ("--config.method=unknown", "config.method = 'unknown': it must be one of att"),
    ("--config.distill.ipc=50", "takes 50 distinct real images of each class"),
    ("--config.distill.stepz=3", "did you mean config.distill.steps?"),
    ("--config.distill.classes_per_step=11", "classes_per_step must lie in 0..10, got 11"),
    ("--config.evaluate.networks=('vgg11',)", "vgg11 needs images of at least 32x32"),
    ("--config.distill.augmentation=color_color", "operations must be distinct"),
    ("--config.sdd.kernel=laplace --config.sdd.frequency_method=orthogonal", "orthogonal"),
    ("--config.distill.steps=many", "distill.steps"),
    ("--stage=train", "value should be one of <all|extractors|distill|evaluate|report>"),
    ("--steps=3", "Unknown command line flag 'steps'"),
    ("--config=configs/digits_lt.py:ip=3", "config argument 'ip' is unknown"),
    ("--config=configs/none.py", "configs/none.py"),
    ("--config configs/none.py", "configs/none.py"),
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What each of the wrong flags is answered with, and the folder that none should make."""
    folder = tmp_path_factory.mktemp("refused")
    base = ("csdm_jax.main", "--config=configs/digits_lt.py")
    lines = [(*base, *flag.split(), f"--workdir={folder / 'none'}") for flag, _ in WRONG]
    found = commands.run_all(folder, lines)
    return folder / "none", dict(zip((flag for flag, _ in WRONG), found, strict=True))


@pytest.mark.parametrize(("flag", "message"), WRONG)
def test_a_wrong_flag_is_refused_before_anything_is_compiled(flag, message, refused):
    none, results = refused
    result = results[flag]
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    assert not none.exists()


def test_help_names_the_flags():
    result = run("--help")
    for flag in ("--config", "--workdir", "--stage", "--data_dir"):
        assert flag in result.stdout
