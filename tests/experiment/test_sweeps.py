"""A sweep's syntax, its runs, and what it gathers from them."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csdm_jax.evaluation import evaluate
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import saved, stages, sweeps
from csdm_jax.reporting import page
from csdm_jax.sets import distilled
from csdm_jax.storage import files
from tests import commands
from tests.test_main import SMALL

ROOT = Path(__file__).parent.parent.parent


def parsed(text):
    return [(axis.fields, axis.rows) for axis in sweeps.parse(text)]


def base(**fields):
    config = configuration.default_config()
    config.update_from_flattened_dict({"evaluate.count": 3, **fields})
    return config


def plan(text, out, **fields):
    axes = sweeps.parse(text)
    return axes, sweeps.plan(base(**fields), axes, out)


def score(run, *accuracies):
    """Leaves what a finished run leaves: a card with an evaluation for every method and seed."""
    config = run.config.to_dict()
    for (method, seed), folder in zip(run.pairs, run.folders, strict=True):
        images = np.full((2, 8, 8, 3), 0.5, np.float32)
        pixels = distilled.DistilledSet(images, np.arange(2, dtype=np.int32), "pixels", 1, 2)
        results = [
            {"seed": k, "last": a, "best": a + 1, "by_class": [a, a], "history": []}
            for k, a in enumerate(accuracies)
        ]
        data = {"name": "tiny", "rule": "seeded", "seed": 0, "sha256": "0" * 64}
        data |= {"imbalance_factor": 5.0, "counts": [40, 8]}
        facts = {"method": method, "seed": seed, "ipc": 1, "data": data, "config": config}
        facts["accuracies"] = {name: results for name in run.config.evaluate.networks}
        facts[stages.EVALUATION] = evaluate.FORMAT
        distilled.save(folder, pixels, facts)
    (run.workdir / page.FILE).touch()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config.sdd.scale=0.3,1", [(("sdd.scale",), ((0.3,), (1.0,)))]),
        ("sdd.scale=2", [(("sdd.scale",), ((2.0,),))]),
        ("config.method=csdm,'dm'", [(("method",), (("csdm",), ("dm",)))]),
        ("config.distill.reuse_images=True", [(("distill.reuse_images",), ((True,),))]),
        (
            "config.distill.seeds=(0, 1),2,(3,)",
            [(("distill.seeds",), (((0, 1),), ((2,),), ((3,),)))],
        ),
        (
            "config.evaluate.networks=('convnet','vgg11'),alexnet",
            [(("evaluate.networks",), ((("convnet", "vgg11"),), (("alexnet",),)))],
        ),
        (
            "config.alpha.head:config.alpha.tail=0.9:0.1,0.5:0.5\n config.distill.ipc=1",
            [(("alpha.head", "alpha.tail"), ((0.9, 0.1), (0.5, 0.5))), (("distill.ipc",), ((1,),))],
        ),
        ("config.data.data_dir='a:b,c d'", [(("data.data_dir",), (("a:b,c d",),))]),
    ],
)
def test_a_sweep_is_read_by_the_types_of_its_fields(text, expected):
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "the sweep is empty"),
        ("config.sdd.scal=1", "did you mean config.sdd.scale?"),
        ("config.sdd.scale=1,-1", "config.sdd.scale = -1.0: it must be a number in [0, 1e+06]"),
        ("config.method=csmd", "did you mean 'csdm'?"),
        ("config.sdd.scale=1,,2", "config.sdd.scale = '': it must be"),
        ("config.sdd.scale", "it must be config.FIELD=VALUE,VALUE,..."),
        ("config.sdd.scale=", "it must be config.FIELD=VALUE,VALUE,..."),
        ("config.distill.seeds=(0,1", "must open and close in pairs"),
        ("config.distill.seeds=0)", "must open and close in pairs"),
        ("config.method='csdm", "must open and close in pairs"),
        ("config.sdd.scale=1 config.sdd.scale=2", "names config.sdd.scale twice"),
        ("config.sdd.scale=1,1.0", "the value 1 is there twice"),
        ("config.alpha.head:config.alpha.tail=0.9", "must be 2 values joined by ':'"),
        ("config.extractors.pool_dir=a", "is set by the sweep itself"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(text, message):
    with pytest.raises(configuration.ConfigError, match=re.escape(message)):
        sweeps.parse(text)


def test_the_grid_has_every_combination_and_zipped_fields_move_together():
    axes = sweeps.parse(
        "config.distill.ipc=1,2 config.alpha.head:config.alpha.tail=0.9:0.1,0.5:0.5"
    )
    assert [tuple(point.values()) for point in sweeps.points(axes)] == [
        (1, 0.9, 0.1),
        (1, 0.5, 0.5),
        (2, 0.9, 0.1),
        (2, 0.5, 0.5),
    ]


def test_folders_are_named_by_their_values_and_differ():
    text = "config.sdd.scale=1,0.3 config.evaluate.epochs=5 config.extractors.epochs=6"
    names = [sweeps.name_of(point) for point in sweeps.points(sweeps.parse(text))]
    assert names[0] == "scale=1,evaluate.epochs=5,extractors.epochs=6"
    odd = "config.data.data_dir=a/b,'a b','a%2Fb'," + "x" * 300 + "," + "x" * 301
    names = [sweeps.name_of(point) for point in sweeps.points(sweeps.parse(odd))]
    assert len(set(names)) == 5 and all("/" not in name and len(name) < 256 for name in names)


def test_runs_share_one_pool_unless_another_is_named(tmp_path):
    _, runs = plan("config.sdd.scale=1,2", tmp_path)
    assert {run.config.extractors.pool_dir for run in runs} == {str(tmp_path / "pool")}
    assert [run.config.sdd.scale for run in runs] == [1.0, 2.0]
    _, runs = plan("config.sdd.scale=1", tmp_path, **{"extractors.pool_dir": "mine"})
    assert runs[0].config.extractors.pool_dir == "mine"
    assert "--config.extractors.pool_dir=mine" in sweeps.job(runs[0], []).command


def test_a_point_that_breaks_a_rule_between_fields_is_refused(tmp_path):
    with pytest.raises(configuration.ConfigError, match=r"must not name config\.method 'dm'"):
        plan("config.method=csdm,dm", tmp_path, baselines=("dm",))


def test_a_folder_that_another_configuration_began_is_refused_before_anything_starts(tmp_path):
    _, (run,) = plan("config.sdd.scale=1", tmp_path)
    files.write_sealed_json(run.workdir / saved.NAME, run.config.to_dict())
    plan("config.sdd.scale=1", tmp_path, **{"distill.steps": 3})  # a field that may change
    with pytest.raises(configuration.ConfigError, match=r"evaluate\.epochs: 2000 -> 7"):
        plan("config.sdd.scale=1", tmp_path, **{"evaluate.epochs": 7})


def test_a_run_is_finished_when_its_cards_hold_the_evaluation_asked_for(tmp_path):
    fields = {"distill.seeds": (0, 1), "baselines": ("random",)}
    _, (run,) = plan("config.sdd.scale=1", tmp_path, **fields)
    assert len(run.folders) == 4 and not sweeps.is_finished(run)
    score(run, 1.0, 2.0, 3.0)
    assert sweeps.is_finished(run)
    for change in (
        {"distill.steps": 3},
        {"evaluate.count": 4},
        {"evaluate.networks": ("convnet", "vgg11")},
        {"distill.seeds": (0, 1, 2)},
        {"evaluate.epochs": 7},
        {"data.data_dir": "elsewhere"},
        {"evaluate.soft_labels": True},
    ):
        _, (other,) = plan("config.sdd.scale=1", tmp_path, **(fields | change))
        assert not sweeps.is_finished(other), change
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "FORMAT", evaluate.FORMAT + 1)
        assert not sweeps.is_finished(run)
    assert sweeps.is_finished(run)
    (run.folders[1] / "card.json").write_text("{}")
    assert not sweeps.is_finished(run)


def test_a_row_a_point_with_mean_deviation_interval_and_the_swept_fields(tmp_path):
    axes, runs = plan("config.sdd.scale=0.3,1,3 config.method=csdm,dm", tmp_path)
    for number, run in enumerate(runs[:-1]):
        score(run, 50.0 + number, 52.0 + number, 54.0 + number)
    score(runs[-1], 50.0, 52.0)  # one network is still to come
    rows = sweeps.write(tmp_path, runs, axes)
    text = (tmp_path / "table.md").read_text()
    columns = "last epoch | 95 % interval | best (optimistic) | many | medium | few |"
    assert f"| scale | method | runs | {columns}" in text
    # 4.303 is Student's t for two degrees of freedom; 4.303 * 2 / sqrt(3) = 4.97
    assert "| 0.3 | csdm | 1 x 3 | 52.0 ± 2.0 | 47.0 to 57.0 | 53.0 | 52.0 | - | 52.0 |" in text
    assert "| 3 | csdm | 1 x 3 | 56.0 ± 2.0 | 51.0 to 61.0 | 57.0 |" in text
    assert "| 3 | dm |" not in text and "5 of 6 runs." in text
    assert json.loads((tmp_path / "table.json").read_text()) == json.loads(json.dumps(rows))
    assert [row["point"]["sdd.scale"] for row in rows] == [0.3, 0.3, 1.0, 1.0, 3.0]
    with Image.open(tmp_path / "plot.png") as picture:
        assert min(picture.size) > 200
    assert (tmp_path / "plot.svg").read_text().count("<svg") == 1
    assert sweeps.write(tmp_path / "none", runs[-1:], axes) == []
    assert not (tmp_path / "none").exists()


def drawn(text, out, **fields):
    """The axes object of a sweep's plot, all runs finished."""
    axes, runs = plan(text, out, **fields)
    for number, run in enumerate(runs):
        score(run, 50.0 + number, 52.0 + number, 54.0 + number)
    return sweeps.plot(sweeps.gather(runs), axes).axes[0]


def ticks(axis):
    return [label.get_text() for label in axis.get_xticklabels()]


def test_the_plot_has_a_line_for_each_combination_with_its_intervals(tmp_path):
    axis = drawn("config.sdd.scale=3,0.1,1 config.distill.ipc=1,2", tmp_path)
    assert axis.get_xscale() == "log" and ticks(axis) == ["0.1", "1", "3"]
    assert axis.get_legend_handles_labels()[1] == ["ipc 1", "ipc 2"]
    line, _, (bars,) = axis.containers[1]
    np.testing.assert_allclose(line.get_ydata(), [55, 57, 53])  # in the order of the axis
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [55 - 4.97, 55 + 4.97], atol=0.01)
    assert axis.get_xlabel() == "sdd.scale"


def test_the_first_axis_is_linear_when_narrow_and_categories_when_not_a_number(tmp_path):
    narrow = drawn("config.sdd.scale=1,2,10", tmp_path / "a")
    assert narrow.get_xscale() == "linear" and narrow.get_legend() is None
    methods = drawn("config.method=dm,csdm", tmp_path / "b")
    assert ticks(methods) == ["dm", "csdm"]
    zipped = drawn("config.alpha.head:config.alpha.tail=0.9:0.1,0.5:0.5", tmp_path / "c")
    assert ticks(zipped) == ["0.9\n0.1", "0.5\n0.5"]
    baselines = drawn("config.sdd.scale=1,2", tmp_path / "d", baselines=("dm",))
    assert set(baselines.get_legend_handles_labels()[1]) == {"csdm", "dm"}


def test_only_numbers_in_order_are_joined_and_labels_have_room(tmp_path):
    kernels = "rbf:1,rbf:10,isotropic_laplace:1,isotropic_laplace:10,laplace:1,laplace:10"
    zipped = drawn(f"config.sdd.kernel:config.sdd.scale={kernels}", tmp_path / "a")
    assert zipped.containers[0][0].get_linestyle() == "None"
    zipped.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in zipped.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    scales = drawn("config.sdd.scale=1,2", tmp_path / "b")
    assert scales.containers[0][0].get_linestyle() == "-"


def test_the_slurm_file_runs_every_command(tmp_path):
    _, runs = plan("config.distill.seeds=(0,1),2 config.method=dm", tmp_path / "a b")
    todo = [sweeps.job(run, ["--config=configs/digits_lt.py"]) for run in runs]
    script = sweeps.slurm_script(todo, at_once=3)
    assert "#SBATCH --array=0-1%3" in script
    fake = tmp_path / "srun"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    for number, one in enumerate(todo):
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": str(number)}
        subprocess.run(["bash", "-c", script], check=True, env=env)
        assert one.log.read_text().splitlines() == list(one.command)


def command(out, text, *more):
    flags = [f"--out={out}", f"--sweep={text}", *more, "--", *SMALL]
    flags += ["--config.distill.seeds=(0,)", "--config.distill.loss_scale=300"]
    line = [sys.executable, "launch/sweep.py", "--config=configs/digits_lt.py", *flags]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    return out, command(out, "config.distill.ipc=1,50 config.method=dm", "--jobs=2")


def test_a_sweep_runs_and_a_run_that_fails_stops_no_other(swept):
    out, result = swept
    assert result.returncode == 1
    assert "ipc=50,method=dm: failed with exit code 1: error: " in result.stderr
    assert "takes 50 distinct real images" in result.stderr
    assert "1 of 2 runs failed" in result.stderr
    assert "| 1 | dm | 1 x 2 |" in result.stdout and "1 of 2 runs." in result.stdout
    assert len(list((out / "pool").glob("*/*.msgpack"))) == 1


def test_the_same_command_skips_what_is_finished_without_starting_it(swept):
    out, _ = swept
    log = (out / "ipc=1,method=dm" / "run.log").read_bytes()
    again = command(out, "config.distill.ipc=1 config.method=dm")
    assert again.returncode == 0, again.stderr
    assert "1 runs, 1 of them finished" in again.stderr and "| 1 | dm | 1 x 2 |" in again.stdout
    assert (out / "ipc=1,method=dm" / "run.log").read_bytes() == log
    file = out / "array.sh"
    array = command(out, "config.distill.ipc=1,3 config.method=dm", f"--slurm={file}")
    assert array.returncode == 0 and "ipc=3" in file.read_text(), array.stderr
    assert "ipc=1," not in file.read_text() and not (out / "ipc=3,method=dm").exists()


BAD = [
    ("--sweep=config.sdd.scal=1", "did you mean config.sdd.scale?"),
    ("--sweep=config.sdd.scale=1 --jobs=0", "--jobs=0: it must be 1 or more"),
    ("--sweep=config.sdd.scale=1 --data_dir=a", "flags of csdm distil go behind ' -- '"),
    ("--sweep=config.sdd.scale=1 -- --workdir=a", "--workdir behind --"),
    ("--sweep=config.sdd.scale=1 -- --config.sdd.scale=2", "is swept and set"),
    ("--sweep=config.sdd.scale=1 -- --steps=2", "Unknown command line flag 'steps'"),
    ("--sweep=config.sdd.scale=1 -- --config.sdd.nu=x", "it must be a number in (0, 1000)"),
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What each bad input is answered with, and the folder that none should make."""
    folder = tmp_path_factory.mktemp("refused")
    base = ("csdm_jax.sweep", "--config=configs/digits_lt.py", f"--out={folder / 'none'}")
    found = commands.run_all(folder, [(*base, *shlex.split(flags)) for flags, _ in BAD])
    return folder / "none", dict(zip((flags for flags, _ in BAD), found, strict=True))


@pytest.mark.parametrize(("flags", "message"), BAD)
def test_bad_input_is_answered_before_anything_starts(flags, message, refused):
    none, results = refused
    result = results[flags]
    assert result.returncode != 0 and message in result.stderr
    assert "Traceback" not in result.stderr and not none.exists()


STOPPED = """
import os, signal, sys, time
from csdm_jax import sweep
from csdm_jax.experiment import sweeps
from csdm_jax.runtime import interruption

def drawn(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    while not interruption.requested():
        time.sleep(0.01)
    return []

sweeps.write = drawn
sys.exit(sweep.main(sys.argv[1:]))
"""


def test_a_signal_while_the_sweep_s_table_is_drawn_has_its_exit_code(tmp_path):
    flags = ["--config=configs/digits_lt.py", f"--out={tmp_path}", "--sweep=config.sdd.scale=1"]
    line = [sys.executable, "-c", STOPPED, *flags, "--gather"]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 75, result.stderr
    assert "stopped by a signal while its table was drawn" in result.stderr
