"""Several commands as processes of their own, some at a time, with an orderly end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from csdm_jax.runtime import interruption
from csdm_jax.runtime.progress import Progress

PAUSE = 0.1  # seconds between two looks at the processes

Cores = frozenset[int] | None
"""Those on which a process may run; None for all."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A command, its name in messages, and the file to which all that it prints is appended."""

    name: str
    command: tuple[str, ...]
    log: Path


def run_all(jobs: Sequence[Job], *, at_once: int, label: str, done: int = 0) -> list[Job]:
    """Runs every job; one that fails is named in the log with its last line, the others go on.

    Where several run at a time and there are cores enough, each has as many of its own: two
    programs whose threads share all cores take longer than two of one core each.

    Args:
      jobs: in the order in which they start.
      at_once: how many run at a time.
      label: name in the progress line.
      done: jobs that were finished before, for the progress line.

    Returns:
      The jobs that failed.

    Raises:
      Interrupted: when a signal asked for the end; the processes were told, and have ended.
    """
    waiting, failed = list(jobs), []
    shares = _core_sets(min(at_once, len(jobs)))
    at_once = len(shares)
    progress = Progress(label, done + len(jobs), done=done)
    running: list[tuple[Job, subprocess.Popen, Cores]] = []
    with contextlib.closing(progress), _ended(running):
        while waiting or running:
            interruption.check(f"in {label}")
            while waiting and len(running) < at_once:
                job, cores = waiting.pop(0), shares.pop(0)
                running.append((job, _start(job, cores, alone=at_once == 1), cores))
            for one in [one for one in running if one[1].poll() is not None]:
                job, process, cores = one
                running.remove(one)
                shares.append(cores)
                if process.returncode:
                    failed.append(job)
                    logging.error(_failure(job, process.returncode))
                progress.reach(progress.done + 1)
            time.sleep(PAUSE)
    return failed


def _core_sets(count: int) -> list[Cores]:
    """The cores of each of `count` jobs: equal shares of their own, or all of them."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    size = len(cores) // max(count, 1)
    if count < 2 or size == 0:
        return [None] * count
    return [frozenset(cores[k * size : (k + 1) * size]) for k in range(count)]


@contextlib.contextmanager
def _on(cores: Cores) -> Iterator[None]:
    """This thread on some cores, and a process that it starts there for good.

    Where the system forbids it, on all.
    """
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, before)


def _start(job: Job, cores: Cores, *, alone: bool) -> subprocess.Popen:
    """Starts a job in a process group of its own: Ctrl-C on a terminal reaches us alone.

    What is sent on is one signal, not the terminal's as well, which would end it without saving.
    """
    logging.info("%s: started, prints to %s", job.name, job.log)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if not alone:  # else the first process takes most of a GPU's memory
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with open(job.log, "ab") as log, _on(cores):
        return subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            process_group=0,
        )


@contextlib.contextmanager
def _ended(running: list[tuple[Job, subprocess.Popen, Cores]]) -> Iterator[None]:
    """Asks what still runs at the end to save and to stop, and waits until it has."""
    try:
        yield
    finally:
        for _, process, _ in running:
            process.terminate()
        for job, process, _ in running:
            logging.info("%s: stops", job.name)
            process.wait()


def _failure(job: Job, code: int) -> str:
    """One line on a job that ended with an exit code (negative: by a signal)."""
    lines = job.log.read_text(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"{job.name}: failed with exit code {code}: {said} ({job.log})"
