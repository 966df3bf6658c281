"""Writes sketches of a training set, from which a set is distilled where the images cannot go.

  csdm sketch --config=digits_lt --out=digits.npz
  csdm sketch --config=digits_lt --part=1/2 --out=first.npz
  csdm sketch --merge first.npz second.npz --out=both.npz

`python -m csdm_jax.sketch` is the same command. Nothing imports this module: `csdm_jax.sketch` is a
function of the metric.
"""

from __future__ import annotations

import re

from absl import app, flags

from csdm_jax.experiment import command_line, sketching
from csdm_jax.runtime import interruption, paths

_FLAGS = command_line.ExperimentFlags.define(
    "Folder of the experiment, whose extractors are used or trained; default: as that of distil.",
    required=False,
)
_OUT = flags.DEFINE_string("out", None, "File to write.", required=True)
_PART = flags.DEFINE_string("part", "1/1", "k/n: every n-th image of each class, from the k-th on.")
_LIKE = flags.DEFINE_string(
    "like",
    None,
    "File of sketches of other images, whose extractors, normalisation and views are used, so that "
    "both can be merged.",
)
_MERGE = flags.DEFINE_bool("merge", False, "Adds up the files that are named.")


def main(argv: list[str]) -> None:
    """Writes a file of sketches, or merges some."""
    with command_line.reported(), interruption.handled():
        out = paths.given(_OUT.value)
        if _MERGE.value:
            file = sketching.merge([paths.given(one) for one in argv[1:]], out)
        else:
            file = _written(argv[1:], out)
        print(f"{out}: {sketching.described(file)}")


def _written(rest: list[str], out: paths.Path) -> sketching.SketchFile:
    if rest:
        raise ValueError(f"arguments without a flag: {' '.join(rest)} (see --help)")
    if _FLAGS.config.value is None:
        raise ValueError("give --config, or --merge and files (see --help)")
    config = _FLAGS.configuration()
    like = paths.given(_LIKE.value) if _LIKE.value else None
    return sketching.write(config, _FLAGS.directory(config), out, part=_part(), like=like)


def _part() -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", _PART.value)
    part = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part[0] <= part[1]:
        raise ValueError(f"--part={_PART.value} must be k/n with k from 1 to n, such as 1/2")
    return part


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_flags)
