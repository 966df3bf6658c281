"""What the command line does with errors: one line that says why, and an exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging as standard_logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import saved, sweeps
from csdm_jax.runtime import cluster, interruption, paths, programs

_LESS = (
    "lower distill.forward_batch, set data.placement=host, or, in another workdir, lower "
    "distill.batch or set distill.classes_per_step"
)

_HELP = {"--help", "-help", "--helpfull", "-helpfull", "--helpshort", "-h", "-?"}
_SAVED = f"{saved.__file__}:"

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
            "Experiment, as FILE[:name=value,...], or the config.json of a run; any field is "
            "overridden by --config.FIELD=VALUE. Try configs/digits_lt.py.",
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
                "Folder in which compiled programs are kept for later starts, or 'none'; default: "
                "JAX_COMPILATION_CACHE_DIR, or csdm_jax/compiled in the user's cache folder.",
            ),
        )

    def configuration(self) -> Any:
        """The configuration that the flags describe."""
        config = self.config.value.copy_and_resolve_references()
        if self.data_dir.value is not None:
            config.data.data_dir = str(paths.given(self.data_dir.value))
        return config

    def directory(self, config: Any, *, prefix: str = "") -> Path:
        """The working directory: that of the flag, or that of a `config.json`, or one of its own.

        Args:
          config: as `configuration` gives it.
          prefix: of the name that a directory of its own has.
        """
        if self.workdir.value:
            return paths.given(self.workdir.value)
        file = config_flags.get_config_filename(flags.FLAGS[self.config.name])
        if file.startswith(_SAVED) and not prefix:
            return Path(file.removeprefix(_SAVED)).parent
        changed = configuration.overrides(configuration.load(file), config)
        name = f"{prefix}{config.name}"
        return Path("runs") / (f"{name},{sweeps.name_of(changed)}" if changed else name)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a wrong flag ends the program with one line that says why."""
    flags.FLAGS.set_gnu_getopt(True)  # flags may follow an argument without one
    if _HELP & set(argv[1:]):
        _show_help(full="--helpfull" in argv)
    try:
        for name in re.findall(r"^--?config\.([\w.]+)", "\n".join(argv[1:]), flags=re.M):
            configuration.rule_of(name)
        _find_config(argv)
        return flags.FLAGS(argv)
    except Exception as error:  # a configuration is a program, and anything can be wrong with it
        logging.debug("refused", exc_info=True)
        sys.exit(f"error: {_with_rule(_explain(error))} (see --help)")


def _show_help(*, full: bool) -> None:
    """Prints the flags and every field of the configuration, and ends the program."""
    with screen():
        app.usage(shorthelp=not full, writeto_stdout=True)
        print(fields_help())
    sys.exit(0)


def fields_help() -> str:
    """Every field of the configuration by section, with its default and its rule."""
    lines = ["fields, set by --config.FIELD=VALUE (default; FILE may have another):"]
    section = None
    for name, (default, rule) in configuration.schema().items():
        start = name.rpartition(".")[0]
        if start != section:
            lines += ["", f"  {start or 'the experiment'}:"]
            section = start
        lines.append(f"    {name} = {default!r}: {rule.words}")
    return "\n".join(lines)


def _check_config_path(path: Path) -> None:
    """Raises a ConfigError that says which file was meant, where there is none."""
    if path.is_dir():
        raise configuration.ConfigError(f"{path} is a folder: give --config={path / saved.NAME}")
    if not path.exists():
        near = sorted(str(one) for one in path.parent.glob("*.py"))
        known = f": there are {', '.join(near)}" if near else ": give one of configs/"
        raise configuration.ConfigError(f"the configuration {path} does not exist{known}")


def _find_config(argv: list[str]) -> None:
    """Has --config name a file as a user means it, in place; a `config.json` is read by `saved`."""
    for number, argument in enumerate(argv[1:], 1):
        match = re.fullmatch(r"--?config(?:=(.*))?", argument, flags=re.S)
        if not match or (match[1] is None and number + 1 == len(argv)):
            continue
        place = number if match[1] is not None else number + 1
        before = "--config=" if match[1] is not None else ""
        file, colon, rest = (match[1] or argv[place]).partition(":")
        path = str(paths.given(file))
        _check_config_path(Path(path))
        text = f"{_SAVED}{path}" if path.endswith(".json") else f"{path}{colon}{rest}"
        argv[place] = before + text


@contextlib.contextmanager
def screen() -> Iterator[None]:
    """What a screen cannot show costs characters, not the program; no notice of absent devices."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
    logger = standard_logging.getLogger("jax")
    before = logger.level
    logger.setLevel(standard_logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Ends the program with one line where its user can do something about the error.

    What is compiled meanwhile is kept for later starts, see `programs.keep`.
    """
    try:
        with screen():
            programs.keep(_compilation_cache())
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
    except (AssertionError, RuntimeError) as error:
        if not _is_about_devices(error):
            raise
        _end(
            f"error: JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r} names no device that "
            'can be used here: unset it, or install what it needs, such as "csdm_jax[cuda]"'
            + (f" ({_explain(error)})" if str(error) else "")
        )


def _compilation_cache() -> str | None:
    """The flag's value; None where it is not given, or the command has no such flag."""
    name = "compilation_cache"
    return flags.FLAGS[name].value if name in flags.FLAGS else None


def _is_about_devices(error: Exception) -> bool:
    """Whether JAX raised it while it looked for its devices."""
    return traceback.extract_tb(error.__traceback__)[-1].filename.endswith("xla_bridge.py")


def _end(text: str, code: int = 1) -> None:
    """Ends the program with a line on the standard error."""
    if not jax.distributed.is_initialized() and code == 1:
        sys.exit(text)
    print(text, file=sys.stderr)
    if jax.distributed.is_initialized():
        cluster.leave_at_once(code)
    sys.exit(code)


def _explain(error: Exception) -> str:
    """The last line of a nested message, without the name of its class."""
    text = (str(error).strip().splitlines() or [repr(error)])[-1].strip()
    text = re.sub(r"^(?:[a-z_]\w*\.)+(?=\w+Error: )", "", text)
    return re.sub(r"^(?:Config|Path)Error: ", "", text)


def _with_rule(text: str) -> str:
    """The refusal of a flag's value, and what the field accepts."""
    field = re.search(r"--config\.([\w.]+)=", text)
    return f"{text}; it must be {configuration.rule_of(field[1]).words}" if field else text
