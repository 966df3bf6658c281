"""The commands of docs/own-data.md, on pictures as people have them."""

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

from csdm_jax.experiment import config as configuration
from csdm_jax.storage import files
from tests import flags

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "own-data.md").read_text()
COMMANDS = re.findall(r"```bash\n(.*?)\n```", PAGE, re.S)
QUICK = {
    "network.width": 4, "network.depth": 2, "extractors.count": 1, "extractors.epochs": 1,
    **{f"{name}.augmentation": "none" for name in ("extractors", "distill", "evaluate")},
    "distill.steps": 2, "distill.batch": 8, "distill.loss_scale": 300.0,
    "sdd.num_frequencies": 16,
    "evaluate.count": 1, "evaluate.epochs": 2, "evaluate.check_every": 1,
}  # fmt: skip
COUNTS = {"cat": 15, "a bird": 60, "owl": 5, "caf\udce9": 30, "ape 猿": 1}
KINDS = ("png", "jpg", "webp", "bmp", "gif", "tif")


def draw(root):
    """Pictures of many kinds and sizes, some of them deeper, in classes of unequal size."""
    generator = np.random.default_rng(0)
    for place, (name, count) in enumerate(COUNTS.items()):
        for number in range(count):
            folder = root / name / ("2024/spring" if number % 3 == 0 else ".")
            folder.mkdir(parents=True, exist_ok=True)
            sides = tuple(int(side) for side in generator.integers(20, 60, 2))
            pixels = generator.integers(0, 90, (*sides, 3)) + 30 * place
            image = Image.fromarray(pixels.astype(np.uint8))
            if number % 5 == 0:
                image = image.convert("L")
            image.save(folder / f"{number}.{KINDS[number % len(KINDS)]}")
    (root / "cat" / ".hidden.png").write_bytes(b"")
    (root / "notes.txt").write_text("mine")


def run(command, folder):
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"]
    quick = [f"--config.{name}={value}" for name, value in QUICK.items()]
    result = subprocess.run(
        [sys.executable, *words[1:], *quick],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "XLA_FLAGS": flags.QUICK},
    )
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "configs").symlink_to(ROOT / "configs")
    draw(folder / "pictures")
    generator = np.random.default_rng(0)
    np.savez(
        folder / "pictures.npz",
        x_train=generator.uniform(size=(40, 3, 16, 16)).astype(np.float32),
        y_train=np.array(["cat"] * 30 + ["dog"] * 10),
    )
    return folder


def test_a_folder_goes_from_one_command_to_a_report_with_its_true_counts(folder):
    result = run(COMMANDS[0], folder)
    work = folder / "runs" / "pictures"
    card = files.read_sealed_json(work / "card.json")
    # A fifth of each class is held out, at least one image, never the last.
    kept = {"a bird": 48, "ape 猿": 1, r"caf\xe9": 24, "cat": 12, "owl": 4}
    assert dict(zip(card["class_names"], card["data"]["counts"], strict=True)) == kept
    assert (card["data"]["rule"], card["data"]["holdout"]) == ("none", 0.2)
    rows = json.loads((work / "table.json").read_text())
    (row,) = [row for row in rows if row["method"] == "csdm"]
    assert len(rows) == 2  # Random beside it
    assert row["data"]["own_imbalance_factor"] == 48 and row["data"]["total"] == 89
    assert "pictures, imbalance factor 48, IPC 2" in (work / "table.md").read_text()
    page = (work / "report.html").read_text()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>\s*<td[^>]*>(\d+)</td>", page)
    assert [cell for cell in cells if cell[0] in kept] == [
        (name, str(count)) for name, count in sorted(kept.items(), key=lambda one: -one[1])
    ]
    assert page.count("no test image") == 2  # of each method
    assert "1 passed over: hidden, of the classes cat" in result.stderr
    assert "no test image of class(es) ape 猿" in result.stderr
    assert (work / "images.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("command", "counts"), [(COMMANDS[1], [48, 1, 24, 12, 4]), (COMMANDS[2], [24, 8])]
)
def test_the_other_commands_run(folder, command, counts):
    run(command + " --stage=extractors", folder)
    work = folder / re.search(r"--workdir=(\S+)", command)[1]
    (path,) = work.glob("extractors/*/description.json")
    assert json.loads(path.read_text())["data"]["counts"] == counts


def test_the_page_names_fields_that_exist():
    for field in re.findall(r"--config\.([\w.]+)", PAGE):
        configuration.rule_of(field)
    for path, argument in re.findall(r"--config=(configs/\w+\.py):?([\w=.,]*)", PAGE):
        configuration.validate(configuration.load(f"{ROOT / path}:{argument}"))
    assert len(COMMANDS) == 3 and "own-data.md" in (ROOT / "README.md").read_text()
