"""The README's code runs and is short; what the README and the pages of docs/ name exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from csdm_jax.experiment import config as configuration

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
TEXT = "\n".join(PAGES.values())
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.S)


@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code):
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_the_readme_is_read_in_two_minutes():
    assert len(README.splitlines()) <= 120


def test_the_examples_are_short_enough_to_be_read():
    assert len(PYTHON) == 1 and len(PYTHON[0].splitlines()) <= 12
    (distil,) = re.findall(r"```python notest\n(.*?)```", README, flags=re.S)
    assert len(distil.splitlines()) <= 6


def test_flags_and_fields_named_are_the_command_line_s():
    fields = re.findall(r"--config\.([\w.]+)", TEXT)
    assert len(fields) >= 20
    for field in fields:
        if field not in ("FIELD", "mine.strength"):  # the second is of the method in extending.md
            configuration.rule_of(field)
    configs = re.findall(r"--config=(configs/\w+\.py):?([\w=.,]*)", TEXT)
    assert len(configs) >= 5
    for path, argument in configs:
        configuration.validate(configuration.load(f"{ROOT / path}:{argument}"))


def test_nothing_is_left_to_fill_in():
    assert "PLACEHOLDER" not in TEXT


def test_every_file_and_folder_named_exists():
    named = re.findall(r"(?<![/\w])(?:configs|launch|csdm_jax|results)/[\w./]+", TEXT)
    assert len(named) > 20
    for config in (ROOT / "configs").glob("*.py"):
        named += re.findall(r"results/[\w./]+", config.read_text())
    for path in named:
        assert (ROOT / path.rstrip(".")).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:|#)([^)\s#]+)", PAGES[page])
    links += re.findall(r"^```{include} (\S+)", PAGES[page], flags=re.M)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []


def test_what_a_page_takes_from_another_file_is_there():
    marks = re.compile(r'\{include\} (\S+)\n:start-after: "(.*)"\n:end-before: "(.*)"')
    found = [(page, *one) for page in PAGES for one in marks.findall(PAGES[page])]
    assert found
    for page, path, start, end in found:
        text = ((ROOT / page).parent / path).read_text()
        assert start in text and end in text.partition(start)[2], page
