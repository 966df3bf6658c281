"""Differences between two runs that were tested by the same networks: B - A, in points.

    python launch/paired.py runs/sweep/POINT_A runs/sweep/POINT_B

Networks of equal distillation seed, architecture and evaluation seed are paired: they start alike
and see their images in the same order, so their difference scatters less than either. Printed:
mean, its standard error, and every pair, of all classes and of the many-, medium- and few-shot
ones. Pairs of one distillation seed share their images; the standard error takes them as
independent.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from absl import logging

from csdm_jax.evaluation import statistics
from csdm_jax.experiment import command_line
from csdm_jax.runtime import paths
from csdm_jax.sets import distilled
from csdm_jax.storage import files

Networks = dict[tuple[int, str, int], dict[str, float]]


def networks(folder: Path, method: str | None) -> Networks:
    """Accuracies of every network of a run by (distillation seed, architecture, seed).

    Raises:
      ValueError: when the folder has no evaluated run, or those of several methods.
    """
    found: Networks = {}
    methods = set()
    for path in sorted(
        itertools.chain(folder.glob(distilled.CARD), folder.glob("runs/*/card.json"))
    ):
        card = files.read_sealed_json(path)
        if method not in (None, card["method"]):
            continue
        methods.add(card["method"])
        for architecture, results in card.get("accuracies", {}).items():
            for one in results:
                by_class = np.array(one["by_class"], float)
                groups = statistics.group_accuracies(by_class, tuple(card["data"]["counts"]))
                key = (card["seed"], architecture, one["seed"])
                found[key] = {"all": one["last"]} | groups
    if not found or len(methods) > 1:
        what = f"methods {', '.join(sorted(methods))}" if methods else "no evaluated run"
        raise ValueError(f"{folder} holds {what}, one is needed: name another folder or --method")
    return found


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


def difference(first: Networks, second: Networks) -> dict[str, np.ndarray]:
    """B - A of every pair, by group of classes.

    Raises:
      ValueError: when no network tested both.
    """
    pairs = sorted(first.keys() & second.keys())
    if not pairs:
        raise ValueError("no network tested both runs: give them the same seeds and networks")
    names = [name for name in first[pairs[0]] if name in second[pairs[0]]]
    return {
        name: np.array([second[pair][name] - first[pair][name] for pair in pairs]) for name in names
    }


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
        first, second = (networks(folder, options.method) for folder in options.runs)
        check_classes(options.runs)
        print("| classes | mean | standard error | pairs |\n|---|---|---|---|")
        for name, values in difference(first, second).items():
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            each = " ".join(f"{value:+.1f}" for value in values)
            print(f"| {name} | {values.mean():+.1f} | {error:.1f} | {each} |")


if __name__ == "__main__":
    main()
