"""One table of the runs of several working directories: `csdm report FOLDER ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from csdm_jax.experiment import command_line
from csdm_jax.experiment.config import OF_THE_RUN
from csdm_jax.reporting.table import gather, run_folders, table
from csdm_jax.runtime import paths
from csdm_jax.sets.tracks import with_soft

USAGE = "usage: csdm report FOLDER [FOLDER ...]"


def main(argv: Sequence[str]) -> None:
    """Prints the table; an error ends the program with one line."""
    if set(argv) & {"-h", "--help"}:
        print(f"{USAGE}\n\n{__doc__}")
        return
    if not argv:
        sys.exit(USAGE)
    with command_line.reported():
        runs = [run for name in argv for run in run_folders(paths.given(name))]
        print(table(gather(with_soft(runs), OF_THE_RUN)))


if __name__ == "__main__":
    main(sys.argv[1:])
