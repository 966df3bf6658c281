"""What the command line does with errors: one line that says why, and an exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags, logging
from ml_collections import config_flags

from csdm_jax.experiment import config as configuration
from csdm_jax.runtime import cluster, interruption

_LESS = (
    "lower distill.forward_batch, set data.placement=host, or, in another workdir, lower "
    "distill.batch or set distill.classes_per_step"
)

# The flags that are defined below belong to the program that asks for them, so that its --help
# lists them.
flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class ExperimentFlags:
    """The flags of every program that works on an experiment."""

    config: flags.FlagHolder
    workdir: flags.FlagHolder
    data_dir: flags.FlagHolder
    compilation_cache: flags.FlagHolder

    @classmethod
    def define(cls, workdir: str) -> ExperimentFlags:
        """Defines the flags; `workdir` says what is written where by default."""
        config = config_flags.DEFINE_config_file(
            "config",
            None,
            "Experiment, as FILE[:name=value,...]; any field is overridden by "
            "--config.FIELD=VALUE. Try configs/digits_lt.py.",
            lock_config=True,
        )
        flags.mark_flag_as_required("config")
        return cls(
            config,
            flags.DEFINE_string("workdir", None, workdir),
            flags.DEFINE_string(
                "data_dir",
                None,
                "Data set's location (TFDS directory, folder, zip or npz): config.data.data_dir.",
            ),
            flags.DEFINE_string(
                "compilation_cache",
                None,
                "Folder in which compiled programs are kept for later starts.",
            ),
        )

    def configuration(self) -> Any:
        """The configuration that the flags describe; turns the compilation cache on."""
        if self.compilation_cache.value:
            jax.config.update("jax_compilation_cache_dir", self.compilation_cache.value)
        config = self.config.value.copy_and_resolve_references()
        if self.data_dir.value is not None:
            config.data.data_dir = self.data_dir.value
        return config


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a wrong flag ends the program with one line that says why."""
    flags.FLAGS.set_gnu_getopt(True)  # flags may follow an argument without one
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
