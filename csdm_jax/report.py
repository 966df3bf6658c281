"""One table of the runs of several working directories: `python -m csdm_jax.report FOLDER ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from csdm_jax.reporting.table import gather, run_folders, table


def main(argv: Sequence[str]) -> None:
    """Prints the table; an error ends the program with one line."""
    if not argv:
        sys.exit("usage: python -m csdm_jax.report FOLDER [FOLDER ...]")
    try:
        print(table(gather([run for name in argv for run in run_folders(Path(name))])))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
