"""Reads others' distilled sets: `csdm import PATH --format=NAME --out=FOLDER`.

What a file does not say (mean and std, classes, whether images are whitened) comes from the card
beside it, from the flags, or with `--like=FOLDER` from a run on the same data. What is said must
agree with what is read.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from csdm_jax.experiment import command_line
from csdm_jax.runtime import paths
from csdm_jax.sets.formats import FORMATS, base
from csdm_jax.sets.formats.facts import Facts
from csdm_jax.sets.importing import facts_like, read_set, write_set

__all__ = ["facts_like", "read_set", "write_set"]


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(one) for one in text.split(","))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="csdm import", description=__doc__)
    parser.add_argument("path", type=paths.given, help="file or folder of the set")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--out", type=paths.given, required=True, help="folder to make")
    parser.add_argument("--like", type=paths.given, help="folder of a run on the same data")
    parser.add_argument("--space", choices=base.SPACES, help="where the pixel values live")
    parser.add_argument("--mean", type=_numbers, help="of pixels in [0, 1]: 0.49,0.48,0.45")
    parser.add_argument("--std", type=_numbers, help="likewise")
    parser.add_argument("--num_classes", type=int)
    parser.add_argument("--class_names", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--factor", type=int, help="side of the mosaics' grid; 1: no mosaics")
    parser.add_argument("--keep_mosaics", action="store_true", help="do not decode mosaics")
    parser.add_argument("--clip", action="store_true", help="cut pixels outside [0, 1] off")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Imports as the command line says; an error ends the program with one line."""
    flags = _parse(argv)
    with command_line.reported():
        said = Facts(
            **{
                name: getattr(flags, name)
                for name in ("space", "mean", "std", "class_names", "num_classes", "factor")
            }
        )
        if flags.like:
            said = facts_like(flags.like).agree(said, f"the run {flags.like}")
        result, card = read_set(
            flags.path, flags.format, said, keep_mosaics=flags.keep_mosaics, clip=flags.clip
        )
        write_set(flags.out, result, card, clip=flags.clip)
        print(f"{flags.out}: {len(result.images)} images, {card['num_classes']} classes")
        for note in card["notes"]:
            print(f"note: {note}")


if __name__ == "__main__":
    main()
