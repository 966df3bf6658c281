"""Whom a working directory belongs to: one configuration for good, one process at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import saved
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.reporting import page
from csdm_jax.storage import files, lock
from csdm_jax.training import extractors

JOBS = "jobs"
"""Folder of a working directory: a folder each for methods that run in processes of their own."""


@contextlib.contextmanager
def claimed(experiment: Experiment, only: str | None = None) -> Iterator[None]:
    """The working directory for this process alone, or one method's part of it.

    Args:
      experiment: it may not begin where another configuration has begun.
      only: a method, where others run in other processes.

    Raises:
      LockedError: where another process works in it, at all methods or at one of them.
      ConfigError: for another configuration than the directory's.
    """
    parts = experiment.workdir / JOBS
    with lock.held(parts / only if only else experiment.workdir), _claim(experiment):
        for part in [] if only else parts.glob("*"):
            with lock.held(part):  # a process whose parent was killed may still work there
                pass
        yield


@contextlib.contextmanager
def _claim(experiment: Experiment) -> Iterator[None]:
    """Refuses a directory that another configuration has begun; leaves this one there.

    A first stage that fails before it has written anything leaves nothing.
    """
    path = experiment.workdir / saved.NAME
    try:
        check(experiment.config, experiment.workdir)
    except files.DamagedError as error:
        files.set_aside(path, error)
    first = not path.exists()
    files.write_sealed_json(path, experiment.config.to_dict())
    try:
        yield
    except BaseException:
        if first and not _has_results(experiment.workdir):
            path.unlink(missing_ok=True)
        raise


def _has_results(workdir: Path) -> bool:
    """Whether a stage has written anything there."""
    beginnings = (saved.NAME, lock.NAME, lock.OWNER, extractors.DESCRIPTION)
    found = (path for path in workdir.rglob("*") if path.is_file())
    return any(path.name not in beginnings and path.stat().st_size for path in found)


def check(config: Any, workdir: Path) -> None:
    """Refuses a directory that another configuration has begun.

    And one with a finished report that would give way to a smaller one.

    Raises:
      ConfigError: when one has; says which fields differ.
      DamagedError: when the directory's configuration cannot be read.
    """
    try:
        before = files.read_sealed_json(workdir / saved.NAME)
    except FileNotFoundError:
        return
    changed = configuration.differences(
        configuration.flatten(before), configuration.flatten(config)
    )
    changed += configuration.other_rates(before, config)
    if changed:
        raise configuration.ConfigError(
            f"{workdir} was begun with another configuration ({'; '.join(changed)}): "
            f"take another --workdir, or go on with it by --config={workdir / saved.NAME}"
        )
    if (workdir / page.FILE).exists() and (less := configuration.fewer(before, config)):
        raise configuration.ConfigError(
            f"{workdir} holds a finished report of more than is asked for ({'; '.join(less)}): "
            "ask for at least as much, or take another --workdir"
        )
