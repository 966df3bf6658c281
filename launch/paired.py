"""Differences between two runs that were tested by the same networks: B - A, in points.

    python launch/paired.py runs/sweep/POINT_A runs/sweep/POINT_B

Printed for all classes and for the many-, medium- and few-shot ones: the mean over distillation
seeds, its 95 % interval by Student's t over these seeds, and every pair (`evaluation/pairs.py`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from absl import logging

from csdm_jax.evaluation import pairs
from csdm_jax.experiment import command_line
from csdm_jax.runtime import paths
from csdm_jax.storage import files


def check_classes(folders: list[Path]) -> None:
    """Raises a ValueError where two runs have other classes; their order does not matter."""
    first, second = (
        [
            files.read_sealed_json(path).get("class_names", [])
            for path in folder.glob("**/card.json")
        ]
        for folder in folders
    )
    if first and second and sorted(first[0]) != sorted(second[0]):
        raise ValueError(
            f"{folders[0]} has the classes {first[0][:5]}, {folders[1]} {second[0][:5]}: give two "
            "runs on the same classes"
        )


def main(argv: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=paths.given, nargs=2, help="two working directories")
    parser.add_argument("--method", help="where a directory has several")
    options = parser.parse_args(argv)
    logging.use_absl_handler()
    with command_line.reported():
        first, second = (pairs.networks(folder, options.method) for folder in options.runs)
        check_classes(options.runs)
        print(pairs.table(pairs.differences(first, second)))


if __name__ == "__main__":
    main()
