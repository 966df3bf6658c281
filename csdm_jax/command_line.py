"""What the command line does with errors: one line that says why, and an exit code."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator

import jax
from absl import flags, logging

from csdm_jax import cluster, interruption
from csdm_jax import config as configuration

_LESS = (
    "lower distill.forward_batch, set data.placement=host, or, in another workdir, lower "
    "distill.batch or set distill.classes_per_step"
)


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
        _end(str(stop), interruption.EXIT_CODE)
    except (ArithmeticError, ImportError, OSError, ValueError) as error:
        logging.debug("refused", exc_info=True)
        _end(f"error: {_explain(error)}")
    except MemoryError as error:
        _end(f"error: out of memory {_explain(error)}: {_LESS}")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            _end(f"error: out of memory ({_explain(error)}): {_LESS}")
        if jax.process_count() == 1:
            raise
        _end(f"error: another process of the cluster failed, or cannot be reached: {error}")


def _end(text: str, code: int = 1) -> None:
    """Ends the program with a line on the standard error."""
    print(text, file=sys.stderr)
    if jax.distributed.is_initialized():
        cluster.leave_at_once(code)
    sys.exit(code)


def _explain(error: Exception) -> str:
    """The last line of a nested message, and what the field accepts."""
    text = (str(error).strip().splitlines() or [repr(error)])[-1].strip()
    field = re.search(r"--config\.([\w.]+)=", text)
    return f"{text}; it must be {configuration.rule_of(field[1]).words}" if field else text
