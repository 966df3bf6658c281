"""The console command: `csdm distil ...` is `python -m csdm_jax.main ...`, and so on."""

from __future__ import annotations

import difflib
import os
import runpy
import select
import sys
from collections.abc import Sequence
from typing import NamedTuple

from csdm_jax.runtime import extras


class Command(NamedTuple):
    """A subcommand.

    Attributes:
      module: what `python -m` would run.
      extra: of the package, which it needs.
      purpose: in a line.
    """

    module: str
    extra: str
    purpose: str


COMMANDS = {
    "distil": Command("csdm_jax.main", "distil", "distils a data set, tests, reports"),
    "compare": Command("csdm_jax.compare", "distil", "several methods, and their differences"),
    "score": Command("csdm_jax.score", "distil", "tests any distilled set"),
    "export": Command("csdm_jax.export", "distil", "writes a distilled set for other code"),
    "import": Command("csdm_jax.import_set", "distil", "reads the set of other code"),
    "sketch": Command("csdm_jax.sketch", "distil", "sums over the images, to distil without them"),
    "sweep": Command("csdm_jax.sweep", "distil", "runs a grid of configurations, one table"),
    "reproduce": Command("csdm_jax.reproduce", "distil", "makes a committed number again"),
    "report": Command("csdm_jax.report", "report", "one table of several runs"),
    "page": Command("csdm_jax.page", "report", "draws the page of a folder"),
}


def usage() -> str:
    """What `csdm --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {one.purpose}" for name, one in COMMANDS.items()]
    return "\n".join(
        ["usage: csdm COMMAND [FLAGS]     csdm COMMAND --help", "", *lines, "", "csdm --version"]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand. Returns the exit code: 1, without a traceback, if nobody reads on."""
    try:
        try:
            return _run(argv)
        finally:  # a command may leave by SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        if not _unread(sys.stdout.fileno()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left
        return 1


def _unread(output: int) -> bool:
    """Whether this file is a pipe whose reader is gone, as in `csdm --help | head -1`."""
    poll = select.poll()
    poll.register(output, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _run(argv: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if given else 2
    if given[0] == "--version":
        import csdm_jax

        print(f"csdm_jax {csdm_jax.__version__}")
        return 0
    name, *rest = given
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
        print(f"error: no command {name!r}: {hint} (see csdm --help)", file=sys.stderr)
        return 2
    command = COMMANDS[name]
    sys.argv = [f"csdm {name}", *rest]  # the modules, and absl, read it
    try:
        with extras.needed(command.extra):
            runpy.run_module(command.module, run_name="__main__", alter_sys=True)
    except extras.MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
