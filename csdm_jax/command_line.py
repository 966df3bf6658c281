"""What the command line does with errors: one line that says why, and an exit code."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator

import jax
from absl import flags, logging

from csdm_jax import config as configuration
from csdm_jax import interruption


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a wrong flag ends the program with one line that says why."""
    try:
        for name in re.findall(r"^--?config\.([\w.]+)", "\n".join(argv[1:]), flags=re.M):
            configuration.rule_of(name)
        return flags.FLAGS(argv)
    except (configuration.ConfigError, flags.Error, OSError) as error:
        sys.exit(f"error: {_explain(error)}\nSee --help.")


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Ends the program with one line where its user can do something about the error."""
    try:
        yield
    except interruption.Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(interruption.EXIT_CODE)
    except (ArithmeticError, ImportError, OSError, ValueError) as error:
        logging.debug("refused", exc_info=True)
        sys.exit(f"error: {_explain(error)}")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sys.exit(
            f"error: out of memory ({str(error).splitlines()[0]}): lower distill.forward_batch or "
            "distill.batch, or set distill.classes_per_step or data.placement=host"
        )


def _explain(error: Exception) -> str:
    """The last line of a nested message, and what the field accepts."""
    text = str(error).strip().splitlines()[-1].strip()
    field = re.search(r"--config\.([\w.]+)=", text)
    return f"{text}; it must be {configuration.rule_of(field[1]).words}" if field else text
