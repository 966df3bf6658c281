"""Commands of the README and of docs/how-to in a fresh clone, on small data and small settings."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_tfds import _prepare
from tests.flags import QUICK

ROOT = Path(__file__).parent.parent
ELSEWHERE = {
    "extending.md",
    "install.md",
    "labels.md",
    "long-tailed-folder.md",
    "own-data.md",
    "python-api.md",
    "sketches.md",
}
"""Pages whose commands have tests of their own; the tutorial shows the first of own-data.md."""
PAGES = (
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs" / "how-to").glob("*.md")) if p.name not in ELSEWHERE),
)
BLOCK = re.compile(r"```bash\n(.*?)```", re.S)
COPIED = ("csdm_jax", "configs", "launch", "results", "setup.cfg", "setup.py", "pyproject.toml")
SMALL = {
    "baselines": (),
    "parallel": "loop",
    "distill.seeds": (0,),
    "network.width": 4,
    "network.depth": 1,
    "extractors.count": 1,
    "extractors.epochs": 1,
    "extractors.batch": 64,
    "extractors.cutmix": 0.0,
    "extractors.augmentation": "none",
    "distill.steps": 1,
    "distill.log_every": 1,
    "distill.checkpoint_every": 1,
    "distill.ipc": 2,
    "distill.batch": 8,
    "distill.augmentation": "none",
    "distill.loss_scale": 300.0,  # settling it traces the step twice more
    "sdd.num_frequencies": 16,
    "sdd.frequency_method": "iid",
    "evaluate.count": 1,
    "evaluate.epochs": 1,
    "evaluate.check_every": 1,
    "evaluate.cutmix": 0.0,
    "evaluate.augmentation": "none",
}
# Two points of a sweep in place of six, one row in place of two, one seed each; the second run on
# CIFAR-10 ends with the extractors.
FEWER = {
    ",cpu --data_dir=DATA_DIR": ",cpu --data_dir=data --stage=extractors",
    "sdd.scale=0.3,1,3": "sdd.scale=3",
    "--config.distill.seeds=0,1": "--config.distill.seeds=0,",
    "digits_lt/csdm digits_lt/dm": "digits_lt/csdm",
    "--methods=random,dm,csdm": "--methods=random,csdm --workdir=runs/compared",
}
# Installing is tried by CI itself, and the tests are running already.
PYTHON = '#!/bin/sh\ncase "$1 $2" in "-m pip"|"-m pytest") exit 0;; esac\nexec {python} "$@"\n'
CSDM = '#!/bin/sh\nexec python -m csdm_jax.cli "$@"\n'
# A number that small settings do not meet: the command ran, and says so.
CODES = {"reproduce": (0, 1)}
# Networks for the committed images, which small settings do not make: see test_reproduction.
LEFT_OUT = "--rescore"


def commands():
    """The command lines of the pages' bash blocks, in their order."""
    blocks = [block for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    lines = "\n".join(blocks).replace("\\\n", "").splitlines()
    return [re.sub(r"\s+#.*|\s{2,}", lambda found: " " * (found[0][0] != "#"), line).strip()
            for line in lines if line.strip()]  # fmt: skip


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The repository with small configurations, a Python that installs nothing, and small data."""
    folder = tmp_path_factory.mktemp("clone") / "csdm jax"
    folder.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for path in (folder / "configs").glob("*.py"):
        fields = SMALL | ({"data.imbalance_factor": 2.0} if "cifar" in path.name else {})
        text = path.read_text(encoding="utf-8")
        small = f"    config.update_from_flattened_dict({fields})\n    return config\n"
        path.write_text(text.replace("    return config\n", small), encoding="utf-8")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(python=sys.executable))
    (python.parent / "csdm").write_text(CSDM)
    for program in python.parent.iterdir():
        program.chmod(0o755)
    images = np.random.default_rng(0).integers(0, 256, (400, 32, 32, 3), np.uint8)
    labels = np.arange(400) % 10
    splits = {"train": (images, labels), "test": (images[:50], labels[:50])}
    _prepare(folder / "data", "cifar10", splits, [str(label) for label in range(10)])
    return folder


def call(clone, line):
    environment = os.environ | {
        "PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(clone),
        "TFDS_DATA_DIR": str(clone / "data"),
        "XDG_CACHE_HOME": str(clone / "cache"),
        "XLA_FLAGS": QUICK,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # many small programs, many processes
    }
    return subprocess.run(
        ["bash", "-c", line],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def filled_in(clone, line):
    """The command with files for what its placeholders stand for; None where PyTorch lacks."""
    for many, few in {"DATA_DIR": "data", **FEWER}.items():
        line = line.replace(many, few)
    if "THEIR_FILES" not in line:
        return line
    run = "cifar10" if "cifar10" in line else "digits_lt-imb10-ipc2"
    form = "ncfm" if "ncfm" in line else "safetensors"
    if form == "ncfm" and importlib.util.find_spec("torch") is None:
        return None
    theirs = f"theirs-{run}"
    line_before = f"python -m csdm_jax.export runs/{run} --format={form} --out={theirs}"
    assert call(clone, line_before).returncode == 0
    return line.replace("THEIR_FILES", theirs)


def test_every_page_with_commands_is_tried():
    pages = (ROOT / "docs").rglob("*.md")
    with_commands = {page for page in pages if BLOCK.search(page.read_text(encoding="utf-8"))}
    assert {page.name for page in with_commands - set(PAGES)} <= ELSEWHERE


def test_the_commands_run_one_after_the_other(clone):
    lines = commands()
    assert len(lines) >= 11 and lines[:2] == ["bash launch/quickstart.sh", "bash launch/test.sh"]
    for line in lines:
        if LEFT_OUT in line or (whole := filled_in(clone, line)) is None:
            continue
        result = call(clone, whole)
        said = f"{whole}: {result.returncode}\n{result.stdout[-500:]}\n{result.stderr[-1500:]}"
        allowed = next((codes for name, codes in CODES.items() if name in line), (0,))
        assert result.returncode in allowed, said
        assert "Traceback" not in result.stderr and "error:" not in result.stderr, said
        if "reproduce" in line and result.returncode:
            assert "FAIL" in result.stdout, said
    assert {path.name for path in (clone / "runs").iterdir()} == {
        "cifar10",
        "cifar10_lt-imb100-ipc10-cpu",
        "compared",
        "digits_lt-imb10-ipc2",
        "digits_lt-imb10-ipc2,extractor=queue,initialisation=herding,logit_adjustment=1,batch=64,"
        "learning_rate=0.05,train_steps=5,trained=1",
        "digits_lt-imb10-ipc2,extractor=trajectory,initialisation=kmeans,logit_adjustment=1",
        "digits_lt-imb10-ipc2,head=0.8,scale=2",
        "reproduce",
        "score-theirs-cifar10-cifar10_lt-imb100-ipc10",
        "sweep",
    }
