r"""Runs a grid of configurations and gathers them into one table and one plot.

  csdm sweep --config=digits_lt --out=runs/sweep --jobs=2 \
    --sweep='config.sdd.scale=0.3,1,3 config.alpha.head:config.alpha.tail=0.9:0.1,0.5:0.5' \
    -- --config.distill.seeds=0,1

Behind -- stand flags of csdm distil, for every run. Finished runs are skipped, so the same
command goes on after a stop, and takes up a sweep with more values. Baselines are run only where
the sweep or those flags name them. See csdm_jax/experiment/sweeps.py for the syntax.
"""

from __future__ import annotations

import argparse
import sys

from absl import logging

from csdm_jax import main as main_command
from csdm_jax.experiment import command_line, sweeps
from csdm_jax.runtime import interruption, jobs, paths
from csdm_jax.storage import files

OWN = ("workdir", "stage", "config")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; a flag that is not understood ends the program."""
    parser = argparse.ArgumentParser(
        prog="csdm sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", required=True, help="NAME or FILE, then :name=value,... if wanted"
    )
    parser.add_argument("--sweep", required=True, help="config.FIELD=VALUE,... for each axis")
    parser.add_argument("--out", type=paths.given, required=True, help="folder of the sweep")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--slurm", type=paths.given, help="write a job array, start nothing")
    parser.add_argument("--gather", action="store_true", help="only gather what is finished")
    parser.add_argument("flags", nargs="*", help="behind --: flags of csdm distil")
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"unknown {' '.join(unknown)}: flags of csdm distil go behind ' -- '")
    if options.jobs < 1:
        parser.error(f"--jobs={options.jobs}: it must be 1 or more")
    if own := _names(options.flags) & set(OWN):
        parser.error(f"--{own.pop()} behind --: the sweep sets {', '.join(OWN)} of its runs")
    return options


def _names(flags: list[str]) -> set[str]:
    """The names of the flags; fields without `config.`."""
    names = {flag.lstrip("-").partition("=")[0].removeprefix("config.") for flag in flags}
    return names | ({"data.data_dir"} if "data_dir" in names else set())


def plan(options: argparse.Namespace) -> tuple[list[sweeps.Axis], list[sweeps.Run], list[str]]:
    """Axes, runs, and the flags of all runs. Raises a ConfigError before anything starts."""
    axes = sweeps.parse(options.sweep)
    swept = {field for axis in axes for field in axis.fields}
    given = _names(options.flags)
    if both := swept & given:
        raise sweeps.ConfigError(f"config.{both.pop()} is swept and set: leave one of the two out")
    flags = [f"--config={options.config}", *options.flags]
    if not {"baselines"} & (swept | given):
        flags.append("--config.baselines=()")
    sys.argv = [sys.argv[0], *flags]  # ml_collections looks for overrides there
    if rest := command_line.parse_flags(sys.argv)[1:]:
        raise sweeps.ConfigError(f"arguments without a flag: {' '.join(rest)}")
    return axes, sweeps.plan(main_command.FLAGS.configuration(), axes, options.out), flags


def start(options: argparse.Namespace, runs: list[sweeps.Run], flags: list[str]) -> int:
    """Starts what is not finished, or writes the file that does. Returns the exit code."""
    open_runs = [run for run in runs if not sweeps.is_finished(run)]
    logging.info("%d runs, %d of them finished", len(runs), len(runs) - len(open_runs))
    todo = [sweeps.job(run, flags) for run in open_runs]
    if options.slurm:
        if todo:
            script = sweeps.slurm_script(todo, at_once=options.jobs)
            files.write_bytes(options.slurm, script.encode())
        print(f"{options.slurm}: {len(todo)} runs; start them with sbatch" if todo else "all done")
        return 0
    done = len(runs) - len(todo)
    failed = jobs.run_all(todo, at_once=options.jobs, label="the sweep", done=done)
    if failed:
        print(f"{len(failed)} of {len(runs)} runs failed", file=sys.stderr)
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    """Runs the sweep. Returns the exit code."""
    options = parse(argv)
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    with command_line.reported(), interruption.handled():
        axes, runs, flags = plan(options)
        try:
            code = 0 if options.gather else start(options, runs, flags)
        finally:
            if rows := sweeps.write(options.out, runs, axes):
                print(sweeps.table(rows, total=len(runs)))
                print(f"table and plot: {options.out}")
        interruption.check("while its table was drawn")
    return code


if __name__ == "__main__":
    sys.exit(main())
