"""What a step of each method costs as the distilled set grows: Table 4's seconds and memory.

`python benchmarks/cost.py --methods csdm dm ncfm --ipc 10 20 50` takes any names of `METHODS`, on
noise in the shape of CIFAR-10-LT, with the `cpu` preset. Each measurement is a process of its own,
so that it has a peak of its own; what the methods need is trained beforehand, in another, and
briefly: time and memory do not depend on what weights are. `--set FIELD=VALUE` changes a field of
the configuration, `--set recipe=published` gives each method the settings of its authors, with as
many experts, trained as long.

A step is a round, with all its inner loops, as `distill.steps` counts them. Ratios are to csdm's
median at the same IPC, where csdm is among the methods.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _common
import jax
import numpy as np

from csdm_jax.data import Dataset
from csdm_jax.experiment import stages, sweeps
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.runtime import memory

CLASSES, PER_TEST_CLASS = 10, 10
BASE = "csdm"
GIVEN = ("imbalance", "head", "side", "epochs", "steps", "repeats")
"""Options that a process of a row is told."""


def noise(options: argparse.Namespace) -> Dataset:
    """Random images, as many of each class: the configuration makes the long tail."""
    generator, shape = np.random.default_rng(0), (options.side, options.side, 3)
    train, test = (
        np.repeat(np.arange(CLASSES, dtype=np.int32), count)
        for count in (options.head, PER_TEST_CLASS)
    )
    images, others = (
        generator.integers(0, 256, (len(labels), *shape), np.uint8) for labels in (train, test)
    )
    names = tuple(map(str, range(CLASSES)))
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    return Dataset("cifar10-noise", images, train, others, test, names, mean, std)


def configuration(options: argparse.Namespace, method: str, ipc: int) -> Any:
    """The preset with which a method is measured."""
    argument = f"imb={options.imbalance},ipc={ipc},cpu"
    config = _common.load_config("cifar10_lt", argument)
    config.method = method
    config.extractors.epochs, config.extractors.pool_dir = options.epochs, str(options.folder)
    config.experts.count, config.experts.epochs = 1, options.epochs
    config.experts.classifier_epochs = config.trajectory.classifier_epochs
    config.trajectory.latest = max(0, options.epochs - config.trajectory.epochs)
    config.trajectory.latest_at_first = 0
    config.distill.loss_scale = 300.0  # measuring one would add to time and memory
    for axis in sweeps.parse(" ".join(options.set)) if options.set else ():
        config.update_from_flattened_dict(dict(zip(axis.fields, axis.rows[0], strict=True)))
    return config


def supply(options: argparse.Namespace) -> None:
    """Trains what the methods need, once for all rows."""
    dataset = noise(options)
    for method in options.methods:
        config = configuration(options, method, options.ipc[0])
        stages.run(config, options.folder / method, stage="extractors", dataset=dataset)


def measure(options: argparse.Namespace, method: str, ipc: int) -> dict[str, Any]:
    """One row: seconds of a step and the peak of this process."""
    config = configuration(options, method, ipc)
    experiment = Experiment(config, options.folder / method, dataset=noise(options)).of(method)
    experiment.supplies.of(method)
    loop, before = experiment.loop(method), memory.peak()
    state, constants, feeds = loop.begin(jax.random.key(0))
    carry, done, seconds = loop.carry(loop.devices.copy(state), constants), 0, []
    for _ in range(1 + options.repeats):
        start = time.perf_counter()
        carry, metrics = loop.stepper(carry, constants, done, options.steps, feeds=feeds)
        jax.block_until_ready((carry, metrics))
        seconds.append((time.perf_counter() - start) / options.steps)
        done += options.steps
    made = experiment.codec.tiles * ipc * CLASSES
    return {
        "method": method,
        "ipc": ipc,
        "images": made,
        "seconds": _common.spread(seconds[1:]),
        "first_seconds": seconds[0],
        "peak_mib": memory.peak() / 2**20,
        "before_mib": before / 2**20,
    }


def in_a_process(options: argparse.Namespace, *task: str) -> str:
    """The last line that this file prints when it is given a task."""
    command = [sys.executable, str(Path(__file__)), *task, "--folder", str(options.folder)]
    for name in GIVEN:
        command += [f"--{name}", str(getattr(options, name))]
    for name in ("methods", "ipc", "set"):
        command += [f"--{name}", *map(str, getattr(options, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1] if done.stdout else ""


def with_ratios(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A row with its seconds and its peak over those of csdm at the same IPC, if they are known."""
    base = [one for one in rows if (one["method"], one["ipc"]) == (BASE, row["ipc"])]
    if not base:
        return row | {"ratio": None, "peak_ratio": None}
    return row | {
        "ratio": row["seconds"]["median"] / base[0]["seconds"]["median"],
        "peak_ratio": row["peak_mib"] / base[0]["peak_mib"],
    }


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=[BASE, "dm", "ncfm"])
    parser.add_argument("--ipc", type=int, nargs="+", default=[10, 20, 50])
    parser.add_argument("--imbalance", type=float, default=100.0)
    parser.add_argument("--head", type=int, default=5000, help="images of the largest class")
    parser.add_argument("--side", type=int, default=32, help="of the images")
    parser.add_argument("--epochs", type=int, default=3, help="for which networks are trained")
    parser.add_argument("--steps", type=int, default=3, help="between two looks at the clock")
    parser.add_argument("--set", nargs="*", default=[], help="FIELD=VALUE of the configuration")
    parser.add_argument("--supply", action="store_true", help="train what the methods need alone")
    parser.add_argument("--one", nargs=2, help="one row, as JSON: method, IPC")
    parser.add_argument("--folder", type=Path, help="of what was trained, for these two")
    _common.add_load(parser)
    return parser.parse_args(given)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the JSON says of the command line."""
    return {name: getattr(options, name) for name in ("methods", "ipc", "set", *GIVEN)}


def lines(options: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Measures row by row, csdm first; what is known is kept after each."""
    methods = sorted(options.methods, key=lambda name: name != BASE)
    for ipc in options.ipc:
        for method in methods:
            row = json.loads(in_a_process(options, "--one", method, str(ipc)))
            rows.append(with_ratios(row, [*rows, row]))
            _common.save(options.out, "cost", settings(options), rows)
            yield cells(rows[-1])


def cells(row: dict[str, Any]) -> list[str]:
    """Of the printed table."""
    ratios = (row[name] for name in ("ratio", "peak_ratio"))
    return [
        row["method"],
        str(row["ipc"]),
        str(row["images"]),
        _common.shown(row["seconds"]),
        f"{row['peak_mib']:.0f}",
        *("-" if one is None else f"{one:.2f}" for one in ratios),
    ]


def main() -> None:
    """Prints the table."""
    options = arguments()
    if options.supply:
        supply(options)
    elif options.one:
        print(json.dumps(measure(options, options.one[0], int(options.one[1]))))
    else:
        rows: list[dict[str, Any]] = []
        header = ["method", "IPC", "images", "s/step", "peak, MiB", "s / csdm's", "MiB / csdm's"]
        with _common.busy(options.load), tempfile.TemporaryDirectory() as folder:
            options.folder = Path(folder)
            in_a_process(options, "--supply")
            _common.print_table(header, lines(options, rows))
        _common.write(options.out, "cost", settings(options), rows)


if __name__ == "__main__":
    main()
