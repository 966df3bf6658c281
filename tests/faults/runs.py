"""Small real runs of the command line, as processes that can be killed, and what they leave."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.flags import QUICK

ROOT = Path(__file__).parent.parent.parent
SMALL = (
    "--config.network.width=8",
    "--config.network.depth=1",
    *(f"--config.{name}.augmentation=none" for name in ("extractors", "distill", "evaluate")),
    "--config.distill.loss_scale=300",  # settling it traces the step twice more
    "--config.extractors.count=2",
    "--config.extractors.epochs=2",
    "--config.distill.steps=12",
    "--config.distill.log_every=2",
    "--config.distill.checkpoint_every=2",
    "--config.distill.seeds=(0,)",
    "--config.distill.batch=8",
    "--config.baselines=()",
    "--config.sdd.num_frequencies=16",
    "--config.evaluate.count=2",
    "--config.evaluate.epochs=4",
    "--config.evaluate.check_every=2",
)
# What differs between two runs by right: the clock (also on the page), the lock, the way there.
NOT_RESULTS = ("timings.json", "report.html", ".lock", "checkpoints", "evaluations")


def command(workdir: Path, *flags: str) -> list[str]:
    """The command line of a small run."""
    base = [sys.executable, "-m", "csdm_jax.main", "--config=configs/digits_lt.py"]
    return [*base, *SMALL, f"--workdir={workdir}", *flags]


def environment(cache: Path, **more: str) -> dict[str, str]:
    """An environment in which compiled programs are kept, so that a start is quick."""
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        "XLA_FLAGS": QUICK,
    }
    return os.environ | kept | more


def start(workdir: Path, env: dict[str, str], *flags: str) -> subprocess.Popen:
    """Starts a small run."""
    return subprocess.Popen(
        command(workdir, *flags),
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(workdir: Path, env: dict[str, str], *flags: str) -> tuple[int, str]:
    """Runs to the end. Returns the exit code and everything printed."""
    process = start(workdir, env, *flags)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def stop(workdir: Path, env: dict[str, str], name: str, line: str) -> tuple[int, str]:
    """Runs until the log has a line, then sends the signal of that name. Returns as `finish`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.stopped", name, line, *command(workdir)[3:]],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def results(workdir: Path) -> dict[str, str]:
    """SHA-256 of every result file, by its path."""
    return {
        path.relative_to(workdir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(workdir.rglob("*"))
        if path.is_file()
        and not set(path.relative_to(workdir).parts) & set(NOT_RESULTS)
        and ".damaged-" not in str(path)
        and not path.name.startswith(".")
    }


def newest_checkpoint(workdir: Path) -> int:
    """The step of the newest complete checkpoint, 0 without one."""
    found = workdir.glob("checkpoints/*/manifest.json")
    return max((int(p.parent.name) for p in found if p.parent.name.isdecimal()), default=0)


def resumed_at(output: str) -> int | None:
    """The step from which the output says that the distillation went on."""
    said = re.search(r"goes on from step (\d+)", output)
    return int(said[1]) if said else None
