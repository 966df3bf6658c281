"""Several methods on one pool of extractors; one that fails leaves the results of the others.

`csdm_jax.compare` is the command. The methods run one after the other in this process, or as jobs:
processes that each distil and evaluate the sets of one method in the same working directory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging

from csdm_jax.experiment import claims, stages
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.reporting import compared
from csdm_jax.runtime import cluster, interruption, jobs

LOG = "run.log"
FAILURES = (ArithmeticError, MemoryError, OSError, RuntimeError, ValueError)
"""What a method may fail with, JAX's errors among them; anything else is a fault of ours."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
      rows: of the result table.
      numbers: see `csdm_jax.reporting.compared.compared`; of the methods that did not fail.
      failed: the others.
    """

    rows: list[dict[str, Any]]
    numbers: dict[str, Any]
    failed: Sequence[str]


def run(
    config: Any, workdir: Path, each: Callable[[Experiment], list[str]] | None = None
) -> Comparison | None:
    """Runs all methods of a configuration, from where an earlier call left them, and compares.

    Args:
      config: see `csdm_jax.experiment.config`.
      workdir: made when missing.
      each: distils and evaluates the sets of every method, and returns those that failed; one
        after the other when left out.

    Returns:
      None on a process of a cluster that is not the first.

    Raises:
      ValueError: when every method failed.
      Others: as `stages.run`, before the first method begins.
    """
    experiment = stages.prepared(config, workdir)
    if not cluster.is_first():
        stages.follow(experiment, stages.STAGES, experiment.methods)
        return None
    with claims.claimed(experiment):
        interruption.check("before the first stage")
        stages.extractor_stage(experiment)
        failed = (each or one_after_the_other)(experiment)
        finished = [name for name in experiment.methods if name not in failed]
        if not finished:
            names = ", ".join(failed)
            raise ValueError(f"no method has finished ({names}): the same command tries them again")
        interruption.check("before the report")
        numbers = compared.write(experiment.workdir, finished)
        rows = stages.report_stage(experiment, numbers)
    cluster.wait("the end")
    return Comparison(rows, numbers, failed)


def one_after_the_other(experiment: Experiment) -> list[str]:
    """Runs the methods in this process. On a cluster, whose processes keep step, none may fail."""
    failed = []
    for method in experiment.methods:
        try:
            stages.method_stages(experiment, method)
        except FAILURES as error:
            if jax.process_count() > 1:
                raise
            logging.error("%s failed: %s", method, error)
            logging.debug("failed", exc_info=True)
            failed.append(method)
    return failed


def side_by_side(
    experiment: Experiment, command: Callable[[str], Sequence[str]], *, at_once: int
) -> list[str]:
    """Runs the methods in processes of their own.

    Args:
      experiment: its extractors are there.
      command: name of a method to what calls `stages.run(..., only=name)`.
      at_once: how many run at a time.
    """
    folder = experiment.workdir / claims.JOBS
    todo = [
        jobs.Job(name, tuple(command(name)), folder / name / LOG) for name in experiment.methods
    ]
    return [job.name for job in jobs.run_all(todo, at_once=at_once, label="the methods")]
