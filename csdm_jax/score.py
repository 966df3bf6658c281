"""Scores any distilled set: `csdm score FILE --config=cifar10_lt`.

FILE is a file or folder in one of the formats of `csdm_jax.sets.formats`, by whatever method.
Networks of `config.evaluate.networks` are trained on it by the recipe of `config.evaluate` and
tested on the data set of the configuration; then its label-robust and augmentation-robust scores
are taken, against networks trained on real images (`--references`).
"""

from __future__ import annotations

from absl import app, flags

from csdm_jax.experiment import command_line
from csdm_jax.runtime import interruption, paths
from csdm_jax.scoring import scorer
from csdm_jax.sets.formats import FORMATS, base
from csdm_jax.sets.formats.facts import Facts

_FLAGS = command_line.ExperimentFlags.define(
    "Folder for everything that is written; default: runs/score-<name of FILE>."
)
_FORMAT = flags.DEFINE_enum(
    "format", None, list(FORMATS), "Format of FILE; default: the one its files show."
)
_REFERENCES = flags.DEFINE_string(
    "references",
    None,
    "Folder that keeps networks trained on real images, for all sets that are scored on the same "
    "data; default: <workdir>/references. 'none': accuracy alone, no scores.",
)
_SPACE = flags.DEFINE_enum(
    "space", None, list(base.SPACES), "Where pixel values live, if FILE does not say."
)
_MEAN = flags.DEFINE_list(
    "mean",
    None,
    "Mean that FILE's images were normalised with, one number a channel, of pixels in [0, 1]; "
    "default: what its card says, or the data set's.",
)
_STD = flags.DEFINE_list("std", None, "Likewise the standard deviation.")
_FACTOR = flags.DEFINE_integer(
    "factor", None, "Side of the mosaics' grid, if FILE does not say; 1: no mosaics."
)


def main(argv: list[str]) -> None:
    """Scores the set that the command line names and prints its tables."""
    with command_line.reported(), interruption.handled():
        if len(argv) != 2:
            raise ValueError(f"give one file or folder of a set, got {argv[1:]} (see --help)")
        path = paths.given(argv[1])
        config = _FLAGS.configuration()
        resolved = path.resolve()  # files of one format share a name: their folder tells them apart
        name = resolved.name if path.is_dir() else f"{resolved.parent.name}-{path.stem}"
        workdir = _FLAGS.directory(config, prefix=f"score-{name}-")
        references = _REFERENCES.value or workdir / "references"
        scorer.run(
            config,
            path,
            workdir,
            references=None if references == "none" else paths.given(references),
            said=Facts(
                space=_SPACE.value, mean=_numbers(_MEAN), std=_numbers(_STD), factor=_FACTOR.value
            ),
            format_name=_FORMAT.value,
        )


def _numbers(flag: flags.FlagHolder) -> tuple[float, ...] | None:
    """The numbers in a flag, None when it is not given."""
    try:
        return None if flag.value is None else tuple(float(number) for number in flag.value)
    except ValueError:
        raise ValueError(
            f"--{flag.name} must be numbers joined by commas, got {','.join(flag.value)!r}: give "
            "one a channel, such as 0.49,0.48,0.45"
        ) from None


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_flags)
