"""Several methods under one recipe, with their differences: `csdm compare --config=digits_lt`.

    python -m csdm_jax.compare --config=configs/digits_lt.py --methods=random,dm,csdm

`--methods=all` takes every registered one. The working directory gets `compare.md`, `compare.json`
and `compare.png` beside the report: accuracies, costs, and the difference of every pair, network by
network, over distillation seeds. All other flags are those of `csdm_jax.main`; what is there of an
earlier call is taken up.
"""

from __future__ import annotations

from absl import app, flags

from csdm_jax import main as distilling
from csdm_jax.distillation.methods import METHODS
from csdm_jax.experiment import command_line
from csdm_jax.reporting import compared
from csdm_jax.runtime import interruption

flags.adopt_module_key_flags(distilling)  # so that --help lists them
_METHODS = flags.DEFINE_list(
    "methods",
    None,
    "Methods, the one of interest last, or 'all'; default: those of the configuration.",
)


def main(argv: list[str]) -> None:
    """Runs the methods and prints the tables."""
    with command_line.reported(), interruption.handled():
        if len(argv) > 1:
            raise ValueError(f"arguments without a flag: {' '.join(argv[1:])} (see --help)")
        config = distilling.FLAGS.configuration()
        if _METHODS.value:
            *others, config.method = _chosen(_METHODS.value, config.method)
            config.baselines = tuple(others)
        folder, rows = distilling.run(config)
        if rows:
            found = compared.write(folder, [*config.baselines, config.method])
            print(f"\n{compared.text(found)}\nfiles: {folder / compared.NAME}.md, .json, .png")


def _chosen(names: list[str], own: str) -> list[str]:
    """The methods to run; of "all" the configuration's own comes last."""
    if names != ["all"]:
        return names
    return [*(name for name in METHODS if name != own), own]


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_flags)
