"""The script of continuous integration; the programs that it calls are replaced by notes."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTES = '#!/bin/sh\necho "$(basename "$0") $*" >> "$NOTES"\n'
TOOLS = ("bash", "basename", "cat", "dirname", "mktemp", "rm", "sh", "tail", "timeout", "env")


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def call(tmp_path):
    """Runs the script in a repository of stubs. Returns its result and what was called."""
    (tmp_path / "repo").mkdir()
    for name in (".ci/run", "launch/environment.sh"):
        (tmp_path / "repo" / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "repo" / name)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in TOOLS:
        (programs / name).symlink_to(shutil.which(name))

    def run(*, python="", test="", docs="", **more):
        script(tmp_path / "repo/launch/test.sh", NOTES + test)
        script(tmp_path / "repo/launch/docs.sh", NOTES + docs)
        for name, text in {"python": python, "ruff": "", "mypy": ""}.items():
            script(tmp_path / "repo/.venv/bin" / name, NOTES + text)
        for name, text in more.items():
            script(programs / name.replace("_", "-"), NOTES + text)
        notes = tmp_path / "notes"
        environment = {"PATH": str(programs), "NOTES": str(notes), "TMPDIR": str(tmp_path)}
        result = subprocess.run(
            ["bash", str(tmp_path / "repo/.ci/run")],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return result, notes.read_text().splitlines()

    return run


NO_TORCH = 'case "$*" in "-c import torch") exit 1;; esac\n'


def names(calls):
    return [call.split()[0] for call in calls if not call.startswith("id ")]


def test_torch_and_a_browser_are_installed_before_the_test_command(call):
    result, calls = call(python=NO_TORCH, apt_get="", id="echo 0")
    assert result.returncode == 0, result.stderr
    installs = [text for text in calls if "install" in text]
    assert "torch==2.13.0" in installs[1] and installs[2].endswith("chromium")
    assert "--no-install-recommends" in installs[2]
    assert names(calls)[-5:] == ["test.sh", "docs.sh", "ruff", "ruff", "mypy"]
    assert "skipped" not in result.stdout


def test_what_is_there_is_not_installed(call):
    result, calls = call(chromium="", apt_get="", id="echo 0")
    assert result.returncode == 0, result.stderr
    assert not any("torch==" in text for text in calls) and "apt-get" not in names(calls)


def test_what_cannot_be_installed_is_named_and_the_tests_run(call):
    fails = NO_TORCH + 'case "$*" in *torch==*) echo "no such version"; exit 1;; esac\n'
    result, calls = call(python=fails, apt_get="echo no network; exit 1", id="echo 0")
    assert result.returncode == 0, result.stderr
    assert ".pt formats are skipped: no torch==2.13.0: no such version" in result.stdout
    assert "in a browser are skipped: no chromium: no network" in result.stdout
    assert "test.sh" in names(calls)


@pytest.mark.parametrize("more", [{}, {"apt_get": "", "id": "echo 1000"}])
def test_without_apt_get_or_root_the_browser_is_left_out(call, more):
    result, calls = call(
        id=more.get("id", "echo 0"), **{n: v for n, v in more.items() if n != "id"}
    )
    assert result.returncode == 0, result.stderr
    assert "no chromium: neither apt-get nor root" in result.stdout
    assert "apt-get" not in names(calls)


@pytest.mark.parametrize("step", ["test", "docs"])
def test_failing_tests_or_pages_fail_the_script(call, step):
    result, calls = call(**{step: "exit 3"}, chromium="", id="echo 0")
    assert result.returncode == 3 and "mypy" not in names(calls)


def test_the_script_is_executable():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
