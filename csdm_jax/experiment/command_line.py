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
from csdm_jax.runtime import cluster, heap, interruption, paths, programs, shipped

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
    def define(cls, workdir: str, *, required: bool = True) -> ExperimentFlags:
        """Defines the flags; `workdir` says what is written where by default.

        Args:
          workdir: words for the help.
          required: whether there is nothing to do without a configuration.
        """
        config = config_flags.DEFINE_config_file(
            "config",
            None,
            f"Experiment, as NAME[:name=value,...] ({', '.join(shipped.configs())}), as a FILE "
            "with get_config, or the config.json of a run; any field is overridden by "
            "--config.FIELD=VALUE.",
            lock_config=True,
        )
        flags.register_validator(
            "config",
            lambda value: value is not None or not required,
            message=f"give one of {', '.join(shipped.configs())}, or a file",
        )
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
        _find_config(argv)
        _check_names(argv)
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
    sections: dict[str, list[str]] = {}
    for name, (default, rule) in configuration.schema().items():
        section = name.rpartition(".")[0] or "the experiment"
        sections.setdefault(section, []).append(f"    {name} = {default!r}: {rule.words}")
    for section, fields in sections.items():
        lines += ["", f"  {section}:", *fields]
    return "\n".join(lines)


def _check_config_path(path: Path) -> None:
    """Raises a ConfigError that says which file was meant, where there is none."""
    if path.is_dir():
        raise configuration.ConfigError(f"{path} is a folder: give --config={path / saved.NAME}")
    if not path.exists():
        near = sorted(str(one) for one in path.parent.glob("*.py")) if path.suffix else []
        known = ", ".join(near or shipped.configs())
        raise configuration.ConfigError(
            f"the configuration {path} does not exist: there are {known}"
        )


def _find_config(argv: list[str]) -> None:
    """Has --config name a file as a user means it, in place; a `config.json` is read by `saved`."""
    for number, argument in enumerate(argv[1:], 1):
        match = re.fullmatch(r"--?config(?:=(.*))?", argument, flags=re.S)
        if not match or (match[1] is None and number + 1 == len(argv)):
            continue
        place = number if match[1] is not None else number + 1
        before = "--config=" if match[1] is not None else ""
        file, colon, rest = (match[1] or argv[place]).partition(":")
        path = str(shipped.located(str(paths.given(file))))
        _check_config_path(Path(path))
        text = f"{_SAVED}{path}" if path.endswith(".json") else f"{path}{colon}{rest}"
        argv[place] = before + text


def _check_names(argv: list[str]) -> None:
    """Refuses a field that there is not, before anything else is said of it.

    A configuration may register a method with fields of its own, so it is run first where one is
    not known.
    """
    names = re.findall(r"^--?config\.([\w.]+)", "\n".join(argv[1:]), flags=re.M)
    if not set(names) <= configuration.schema().keys():
        given = "\n".join(argv[1:])
        found = re.search(r"^--?config[=\n](.+\.py(?::.*)?)$", given, flags=re.M)
        if found and Path(found[1].partition(":")[0]).exists():
            configuration.load(found[1])
    for name in names:
        configuration.rule_of(name)


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

    What is compiled meanwhile is kept for later starts, see `programs.keep`, and memory for later
    steps, see `heap.keep`.
    """
    heap.keep()
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
        cluster.leave(code)
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
