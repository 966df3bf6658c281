"""Distils a data set, tests networks on what came out, and reports.

  csdm distil --config=digits_lt
  csdm distil --config=cifar10_lt:imb=100,ipc=10 --config.distill.steps=2000

`python -m csdm_jax.main` is the same command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging

from csdm_jax.experiment import command_line, stages
from csdm_jax.runtime import cluster, interruption

FLAGS = command_line.ExperimentFlags.define(
    "Folder for everything that is written; default: runs/<name of the config>, with the fields "
    "that the command line changes; for a config.json, the folder in which it is."
)
_STAGE = flags.DEFINE_enum(
    "stage",
    "all",
    ["all", *stages.STAGES],
    "Run one stage on what the stages before it left in the working directory.",
)
_ONLY = flags.DEFINE_string(
    "only",
    None,
    "Distil and evaluate the sets of this method of the configuration alone, and report nothing; "
    "others may run in other processes meanwhile, as csdm compare --jobs has them.",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Run together with the other processes of a cluster: see launch/."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of the first process.")
_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes in all.")
_PROCESS = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")


def main(argv: list[str]) -> None:
    """Runs the experiment that the flags describe and prints its table."""
    with command_line.reported(), interruption.handled():
        if len(argv) > 1:
            raise ValueError(f"arguments without a flag: {' '.join(argv[1:])} (see --help)")
        run(FLAGS.configuration())


def run(config: Any) -> tuple[Path, list[dict[str, Any]]]:
    """Runs an experiment where and as the flags say.

    Returns:
      Its working directory, and the rows of its table, where there is one yet.
    """
    join()
    folder = FLAGS.directory(config)
    return folder, stages.run(config, folder, stage=_STAGE.value, only=_ONLY.value)[1]


def join() -> None:
    """Joins the cluster that the flags describe, if they do."""
    if is_distributed():
        cluster.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    logging.info("devices: %s", jax.devices())


def is_distributed() -> bool:
    """Whether the flags describe a cluster."""
    return _DISTRIBUTED.value or _COORDINATOR.value is not None


def is_part() -> bool:
    """Whether the flags ask for one stage or one method alone."""
    return _ONLY.value is not None or _STAGE.value != "all"


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_flags)
