"""The numbers in the README's tables, made again and compared.

    csdm reproduce --list
    csdm reproduce digits_lt/csdm              # distils and evaluates again
    csdm reproduce digits_lt/csdm --rescore    # trains on the committed images

An entry of `results/manifest.json` passes when the new mean lies in its interval. What is there of
an earlier call with the same code is taken up. Entries are written from a folder of results:

    csdm reproduce --record results/digits_lt --config=configs/digits_lt.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from csdm_jax.experiment import command_line, reproduction
from csdm_jax.runtime import interruption, paths
from csdm_jax.runtime.registry import lookup


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="csdm reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="entries of the manifest")
    parser.add_argument("--list", action="store_true", help="show the entries")
    parser.add_argument("--rescore", action="store_true", help="train on the committed images")
    parser.add_argument("--data_dir", default="", help="location of the data set")
    parser.add_argument("--out", type=paths.given, default=Path("runs/reproduce"))
    parser.add_argument("--manifest", type=paths.given, default=reproduction.MANIFEST)
    parser.add_argument("--record", type=paths.given, metavar="FOLDER", help="write its entries")
    parser.add_argument("--config", help="with --record: FILE[:name=value,...]")
    parser.add_argument("--name", help="with --record: the group; default: the folder's name")
    options = parser.parse_args(argv)
    if options.record and not options.config:
        parser.error("--record needs --config, the file that the runs were started with")
    if not (options.record or options.list or options.names):
        parser.error("give a NAME, --list or --record")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line says. Returns the exit code: 1 when a number is not met."""
    options = _parse(argv)
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    with command_line.reported(), interruption.handled():
        if options.record:
            name = options.name or options.record.resolve().name
            config, manifest = options.config, options.manifest
            print(
                "\n".join(
                    reproduction.record(options.record, name=name, config=config, manifest=manifest)
                )
            )
            return 0
        entries = reproduction.read(options.manifest)
        if options.list:
            print(reproduction.listing(entries))
        chosen = {name: lookup(entries, name, "entry") for name in options.names}
        return 0 if all([_one(name, entry, options) for name, entry in chosen.items()]) else 1


def _one(name: str, entry: reproduction.Entry, options: argparse.Namespace) -> bool:
    """Reproduces one entry and prints what came out."""
    kind = "rescored" if options.rescore else "run"
    passed, lines = reproduction.reproduce(
        entry,
        options.out / reproduction.code_digest() / kind / name.replace("/", "-"),
        rescored_from=options.manifest.parent if options.rescore else None,
        data_dir=options.data_dir,
    )
    print(f"{name}: " + "\n".join(lines))
    return passed


if __name__ == "__main__":
    sys.exit(main())
