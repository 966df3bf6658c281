"""Several methods under one recipe, with their differences: `csdm compare --config=digits_lt`.

    python -m csdm_jax.comparing --config=configs/digits_lt.py --methods=random,dm,csdm

The last method is compared with the others, network by network. All other flags are those of
`csdm_jax.main`; what is there of an earlier call is taken up.
"""

from __future__ import annotations

from absl import app, flags

from csdm_jax import main as distilling
from csdm_jax.api.comparing import paired, paired_text
from csdm_jax.experiment import command_line
from csdm_jax.runtime import interruption

flags.adopt_module_key_flags(distilling)  # so that --help lists them
_METHODS = flags.DEFINE_list(
    "methods", None, "Methods, the one of interest last; default: those of the configuration."
)


def main(argv: list[str]) -> None:
    """Runs the methods and prints the tables."""
    with command_line.reported(), interruption.handled():
        if len(argv) > 1:
            raise ValueError(f"arguments without a flag: {' '.join(argv[1:])} (see --help)")
        config = distilling.FLAGS.configuration()
        if _METHODS.value:
            *others, config.method = _METHODS.value
            config.baselines = tuple(others)
        folder, rows = distilling.run(config)
        if rows:
            found = paired(folder, config.method, config.baselines)
            print("\n".join(paired_text(rows, found)))


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_flags)
