"""Several methods under one recipe, with their differences: `csdm compare --config=digits_lt`.

    python -m csdm_jax.compare --config=configs/digits_lt.py --methods=random,dm,csdm --jobs=2

`--methods=all` takes every registered one that the configuration allows. The working directory
gets `compare.md`, `compare.json` and `compare.png`, and the report a section: accuracies, costs,
and the difference of every pair, network by network, over distillation seeds. A method that fails
leaves the results of the others, and the exit code says so. All other flags are those of
`csdm_jax.main`; what is there of an earlier call is taken up.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from csdm_jax import main as distilling
from csdm_jax.distillation import methods
from csdm_jax.experiment import command_line, comparing
from csdm_jax.experiment import config as configuration
from csdm_jax.reporting import compared
from csdm_jax.runtime import interruption

flags.adopt_module_key_flags(distilling)  # so that --help lists them
_METHODS = flags.DEFINE_list(
    "methods",
    None,
    "Methods, the one of interest last, or 'all'; default: those of the configuration.",
)
_JOBS = flags.DEFINE_integer(
    "jobs",
    1,
    "Methods at a time, each a process with cores of its own that prints to jobs/METHOD/run.log.",
    lower_bound=1,
)


def main(argv: list[str]) -> None:
    """Runs the methods and prints the tables."""
    with command_line.reported(), interruption.handled():
        if len(argv) > 1:
            raise ValueError(f"arguments without a flag: {' '.join(argv[1:])} (see --help)")
        config = distilling.FLAGS.configuration()
        if _METHODS.value:
            *others, config.method = _chosen(_METHODS.value, config)
            config.baselines = tuple(others)
        if distilling.is_part():
            distilling.run(config)
            return
        folder = distilling.FLAGS.directory(config)
        found = comparing.run(config, folder, _each(folder))
        if found is not None:
            _say(found, folder)


def _chosen(names: list[str], config: Any) -> list[str]:
    """The methods to run; of "all" the configuration's own comes last."""
    if names != ["all"]:
        return names
    configuration.validate(config)  # for what the configuration allows is asked of it
    others = (name for name in methods.METHODS if name != config.method)
    return [*(name for name in others if _can_work(name, config)), config.method]


def _can_work(name: str, config: Any) -> bool:
    try:
        methods.check(name, configuration.of_method(config, name))
    except ValueError as error:
        logging.warning("%s is left out: %s", name, error)
        return False
    return True


def _each(folder: Path) -> Any:
    """How the methods are run."""
    if _JOBS.value > 1 and distilling.is_distributed():
        raise ValueError(f"jobs = {_JOBS.value} on a cluster: its processes keep step, leave it 1")
    if _JOBS.value == 1:
        distilling.join()
        return comparing.one_after_the_other
    # The jobs share the accelerator with this process, which makes the extractors.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    command = functools.partial(_command, folder)
    return functools.partial(comparing.side_by_side, command=command, at_once=_JOBS.value)


def _command(folder: Path, method: str) -> Sequence[str]:
    """This command for one of the methods."""
    given = (*sys.argv[1:], f"--workdir={folder}", f"--only={method}")
    return (sys.executable, "-m", "csdm_jax.compare", *given)


def _say(found: comparing.Comparison, folder: Path) -> None:
    """Prints the numbers; ends the program with one line where a method failed."""
    print(f"\n{compared.text(found.numbers)}\nfiles: {folder / compared.NAME}.md, .json, .png")
    if found.failed:
        sys.exit(
            f"error: failed: {', '.join(found.failed)}; the same command tries them again, the "
            "others are finished"
        )


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_flags)
