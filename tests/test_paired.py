"""Differences of two runs, network by network."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.finished import write_run

ROOT = Path(__file__).parent.parent


def paired(*arguments):
    command = [sys.executable, str(ROOT / "launch" / "paired.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture
def runs(tmp_path):
    for name, first, second in (("a", [50.0, 60.0], [40.0]), ("b", [51.0, 64.0], [37.0, 99.0])):
        write_run(tmp_path / name, "csdm", 0, first)
        write_run(tmp_path / name / "runs" / "csdm-seed1", "csdm", 1, second)
    return tmp_path / "a", tmp_path / "b"


def test_networks_are_paired_by_their_seeds_and_one_without_a_partner_is_left_out(runs):
    result = paired(*runs)
    assert result.returncode == 0, result.stderr
    means = np.array([2.5, -3.0])  # of the two distillation seeds
    half = 12.706 * means.std(ddof=1) / np.sqrt(2)
    width = f"{means.mean() - half:+.1f} to {means.mean() + half:+.1f}"
    p = stats.ttest_1samp(means, 0.0).pvalue
    expected = f"| {means.mean():+.1f} | {width} | {p:.2g} | +1.0 +4.0; -3.0 |"
    for group in ("all", "many", "medium", "few"):  # every class moves alike
        assert f"| {group} {expected}" in result.stdout
    assert paired(*reversed(runs)).stdout.count("-1.0 -4.0; +3.0") == 4


def test_the_method_is_named_where_a_folder_has_several(runs):
    first, second = runs
    write_run(first / "runs" / "dm-seed0", "dm", 0, [10.0, 10.0])
    several = paired(first, second)
    assert several.returncode and "holds methods csdm, dm, one is needed" in several.stderr
    assert "Traceback" not in several.stderr
    assert paired(first, second, "--method=csdm").returncode == 0


def test_runs_on_other_classes_are_refused(runs):
    first, second = runs
    write_run(first, "csdm", 0, [50.0, 60.0], names=("c", "a", "b"))
    assert paired(first, second).returncode == 0
    write_run(first, "csdm", 0, [50.0, 60.0], names=("a", "b", "d"))
    assert "give two runs on the same classes" in paired(first, second).stderr


def test_runs_without_a_common_network_are_refused(runs):
    first, second = runs
    shutil.rmtree(second / "runs")
    write_run(second, "csdm", 5, [50.0])
    result = paired(first, second)
    assert result.returncode and re.search("no network tested both", result.stderr)
    assert "holds no evaluated run" in paired(first, second / "none").stderr
