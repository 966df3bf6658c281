"""The README's code blocks run, and its commands name what exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from csdm_jax.distillation import methods
from csdm_jax.experiment import config as configuration

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.S)


@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code):
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_the_loss_example_is_short_enough_to_be_read():
    assert len(PYTHON) == 1 and len(PYTHON[0].splitlines()) <= 12


def test_flags_and_fields_named_are_the_command_line_s():
    fields = re.findall(r"--config\.([\w.]+)", README)
    assert len(fields) >= 5
    for field in fields:
        if field != "FIELD":
            configuration.rule_of(field)
    for path, argument in re.findall(r"--config=(configs/\w+\.py):?([\w=,]*)", README):
        configuration.validate(configuration.load(f"{ROOT / path}:{argument}"))


def test_nothing_is_left_to_fill_in():
    assert "PLACEHOLDER" not in README


def test_every_file_and_folder_named_exists():
    named = re.findall(r"(?<![/\w])(?:configs|launch|csdm_jax|results)/[\w./]+", README)
    assert len(named) > 20
    for config in (ROOT / "configs").glob("*.py"):
        named += re.findall(r"results/[\w./]+", config.read_text())
    for path in named:
        assert (ROOT / path.rstrip(".")).exists(), path


def test_the_table_of_methods_is_the_registry():
    assert methods.table() in README
