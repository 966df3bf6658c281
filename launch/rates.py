r"""A learning rate for each method, all chosen from one grid and on tuning images.

    python launch/rates.py --out=OUT --config=digits_lt --methods=dc,mtt,csdm \
      --rates=0.001,0.003,0.01 [--jobs=2] [-- FLAGS of csdm distil for every run]

Every method distils with every rate, and is tested on tuning images: the test set is not looked at.
The rate with the best mean of the last epoch is taken, of equal ones the lowest. The script prints
them as the flag that `csdm compare` takes, and writes rates.md and rates.json to OUT. Finished runs
are skipped, so the same command goes on after a stop; the runs share the pools in OUT/pool.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from csdm_jax import sweep
from csdm_jax.experiment import command_line, sweeps
from csdm_jax.experiment import config as configuration
from csdm_jax.reporting import table as tables
from csdm_jax.runtime import interruption, paths
from csdm_jax.storage import files

RATE = "distill.learning_rate"
NOTE = (
    f"Accuracy of the last epoch on tuning images, in percent, by {RATE}; bold: taken; (!): at an "
    "end of the grid, a rate beyond it may be better. Under a budget of seconds every run makes "
    "the steps that it has time for."
)
Found = Mapping[str, Mapping[float, float]]
"""Of each method the accuracy, in percent, with each rate that is finished."""


def check(config: Any) -> None:
    """Raises a ValueError, before anything is run, for what nothing could be chosen by."""
    settings = config.evaluate
    if settings.on != "tuning":
        raise ValueError(f"evaluate.on = {settings.on!r}: rates are not chosen there, leave it out")
    if len(settings.networks) != 1:
        raise ValueError(
            f"evaluate.networks = {tuple(settings.networks)}: a rate is chosen by one, name it"
        )


def measured(runs: Sequence[sweeps.Run]) -> Found:
    """What the finished runs have, with their own labels.

    Raises:
      ValueError: for a run that was tested on the test set.
    """
    found: dict[str, dict[float, float]] = {}
    for run in runs:
        if not sweeps.is_finished(run):
            continue
        (row,) = tables.gather(run.folders, configuration.OF_THE_RUN)
        if row["evaluated_on"] != "tuning":
            raise ValueError(f"{run.workdir} was tested on the test set: nothing is chosen there")
        found.setdefault(run.config.method, {})[run.point[RATE]] = row["last"]
    return found


def best(found: Found) -> dict[str, float]:
    """The rate of each method."""
    return {name: max(sorted(own), key=own.__getitem__) for name, own in found.items()}


def flag(chosen: Mapping[str, float]) -> str:
    """The rates as `csdm compare` takes them, quoted for a shell."""
    values = "".join(f"'{name}={rate!r}'," for name, rate in chosen.items())
    return f'"--config.rates=({values})"'


def table(found: Found) -> str:
    """Methods in rows, rates in columns, as Markdown."""
    rates = sorted({rate for own in found.values() for rate in own})
    chosen = best(found)
    rows = []
    for name, own in found.items():
        mark = " (!)" if len(rates) > 1 and chosen[name] in (rates[0], rates[-1]) else ""
        cells = {rate: f"{value:.1f}" for rate, value in own.items()}
        cells[chosen[name]] = f"**{cells[chosen[name]]}**{mark}"
        rows.append([name, *(cells.get(rate, "-") for rate in rates)])
    lines = tables.markdown(("method", *map(repr, rates)), rows)
    return "\n".join([*lines, "", NOTE]) + "\n"


def write(found: Found, out: Path, total: int) -> None:
    """Leaves rates.json and rates.md, and prints what they say.

    Args:
      found: see `measured`.
      out: folder of the runs.
      total: their number, finished or not.
    """
    done = sum(map(len, found.values()))
    missing = f"ONLY {done} OF {total} RUNS ARE FINISHED.\n\n" if done < total else ""
    text = f"{table(found)}\n{missing}{flag(best(found))}\n"
    files.write_json(out / "rates.json", {"accuracies": found, "chosen": best(found)})
    files.write_bytes(out / "rates.md", text.encode())
    print(text)


def main(argv: list[str] | None = None) -> int:
    """Runs the grid and chooses. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=paths.given, required=True, help="folder of the runs")
    parser.add_argument("--config", required=True, help="NAME or FILE, with its arguments")
    parser.add_argument("--methods", required=True, help="names, joined by commas")
    parser.add_argument("--rates", required=True, help=f"values of {RATE}, joined by commas")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("flags", nargs="*", help="behind --: flags of csdm distil")
    options = parser.parse_args(argv)
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    grid = f"config.method={options.methods} config.{RATE}={options.rates}"
    own = [f"--config={options.config}", f"--sweep={grid}", f"--out={options.out}"]
    every = ["--config.evaluate.on=tuning", *options.flags]
    with command_line.reported(), interruption.handled():
        swept = sweep.parse([*own, f"--jobs={options.jobs}", "--", *every])
        _, runs, flags = sweep.plan(swept)
        for run in runs:
            check(run.config)
        code = sweep.start(swept, runs, flags)
        if found := measured(runs):
            write(found, options.out, len(runs))
    return code


if __name__ == "__main__":
    sys.exit(main())
