"""Writes a run's distilled set for other code: `csdm export RUN --format=NAME ...`.

The folder that is written holds the arrays and a `card.json` with value range, mean and std,
layout, class names, label kind and the preprocessing of training and test images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from csdm_jax.experiment import command_line
from csdm_jax.runtime import paths
from csdm_jax.sets.exporting import export_set
from csdm_jax.sets.formats import FORMATS


def main(argv: Sequence[str] | None = None) -> None:
    """Exports as the command line says; an error ends the program with one line."""
    parser = argparse.ArgumentParser(prog="csdm export", description=__doc__)
    parser.add_argument("folder", type=paths.given, help="folder of a run")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--out", type=paths.given, required=True, help="folder to make")
    flags = parser.parse_args(argv)
    with command_line.reported():
        card = export_set(flags.folder, flags.format, flags.out)
        print(f"{flags.out}: {card['format']}, {card['layout']}, {card['space']}, {card['images']}")


if __name__ == "__main__":
    main()
