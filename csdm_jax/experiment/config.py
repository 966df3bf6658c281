"""The configuration of an experiment: every field, its default and what it accepts.

`SCHEMA` is the single list. `default_config` builds the ConfigDict from it (the settings of the
paper and of NCFM's recipe), `validate` checks one before anything is compiled, and the files in
`configs/` change what a data set needs.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import runpy
from collections.abc import Callable, Iterable
from typing import Any

import ml_collections

from csdm_jax import data, networks
from csdm_jax.augment import MODES, OPS
from csdm_jax.data import longtail, reading
from csdm_jax.distillation.methods import METHODS, mmd
from csdm_jax.distillation.methods.csdm import KERNELS
from csdm_jax.metric.frequencies import METHODS as FREQUENCY_METHODS
from csdm_jax.parameterisations import PARAMETERISATIONS
from csdm_jax.training import parallel
from csdm_jax.training.optimisers import OPTIMISERS


class ConfigError(ValueError):
    """A field of the configuration breaks its rule."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a field accepts, in words and as a predicate; `names` are the choices, if it has any."""

    words: str
    accepts: Callable[[Any], bool]
    names: tuple[str, ...] = ()

    def hint(self, shown: str) -> str:
        """The nearest valid name to what was given, as the end of a sentence."""
        near = difflib.get_close_matches(shown.strip("'\""), self.names, n=1, cutoff=0.5)
        return f"; did you mean {near[0]!r}?" if near else ""


def integer(low: int, high: int) -> Rule:
    """An integer from `low` to `high`, both included."""
    return Rule(
        f"an integer from {low} to {high}",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high,
    )


def number(low: float, high: float, *, open_ends: bool = False) -> Rule:
    """A finite number in [low, high], or in (low, high)."""

    def accepts(v: Any) -> bool:
        if isinstance(v, bool) or not isinstance(v, int | float):
            return False
        return low < v < high if open_ends else low <= v <= high

    ends = "()" if open_ends else "[]"
    return Rule(f"a number in {ends[0]}{low:g}, {high:g}{ends[1]}", accepts)


def choice(names: Iterable[str]) -> Rule:
    """One of the given names."""
    known = tuple(sorted(names))
    return Rule(
        f"one of {', '.join(known)}", lambda v: isinstance(v, str) and v in known, names=known
    )


def several(rule: Rule, *, least: int = 0) -> Rule:
    """A tuple whose members all satisfy `rule`."""
    return Rule(
        f"a tuple of {least} or more, all different, each {rule.words}",
        lambda v: (
            isinstance(v, tuple) and all(map(rule.accepts, v)) and len(set(v)) == len(v) >= least
        ),
        names=rule.names,
    )


def _is_count(one: Any) -> bool:
    if isinstance(one, str):
        digits = re.fullmatch(r".*:0*([1-9][0-9]{0,9})", one, re.DOTALL)
        one = int(digits[1]) if digits else 0
    return isinstance(one, int) and not isinstance(one, bool) and 1 <= one < 2**31


TEXT = Rule("a string of printable characters", lambda v: isinstance(v, str) and v.isprintable())
FLAG = Rule("True or False", lambda v: isinstance(v, bool))
AUGMENTATION = Rule(
    f"operations of {', '.join(OPS)} joined by '_', or 'none'",
    lambda v: isinstance(v, str) and (v == "none" or all(op in OPS for op in v.split("_"))),
)
COUNTS = Rule(
    "a tuple of numbers from 1 to 2147483647, one a class in label order, or of 'class:number'",
    lambda v: isinstance(v, tuple) and all(map(_is_count, v)),
)
SEED = integer(0, 2**31 - 1)
RATE = number(0.0, 100.0, open_ends=True)
UNIT = number(0.0, 1.0)
OPEN_UNIT = number(0.0, 1.0, open_ends=True)
MOMENTUM = number(0.0, 0.9999)
FRACTIONS = several(OPEN_UNIT)

SCHEMA: dict[str, tuple[Any, Rule]] = {
    "name": ("experiment", TEXT),
    # The method whose output goes to the working directory itself, and those it is compared with.
    "method": ("csdm", choice(METHODS)),
    "baselines": ((), several(choice(METHODS))),
    # How several networks are trained at once: see csdm_jax.training.parallel.
    "parallel": (parallel.AUTO, choice((parallel.AUTO, *parallel.STRATEGIES))),
    "data.name": ("digits", choice(data.NAMES)),
    "data.data_dir": ("", TEXT),
    "data.cache_dir": ("", TEXT),
    # Own data are read at one size, with test images held out where there are none.
    "data.image_size": (0, integer(0, 4096)),
    "data.resize": ("crop", choice(reading.RESIZES)),
    "data.holdout": (0.0, number(0.0, 0.9)),
    # Which training images are kept: "auto" is every one of own data, LTDD's rule otherwise.
    "data.rule": (longtail.AUTO, choice(longtail.NAMES)),
    "data.imbalance_factor": (longtail.DEFAULT_FACTOR, number(1.0, 1e6)),
    "data.head_first": ("label", choice(longtail.HEADS)),
    "data.counts": ((), COUNTS),
    "data.indices_file": ("", TEXT),
    "data.seed": (0, SEED),
    # Where training images stay; "auto" keeps them on the host when the device is too small.
    "data.placement": ("auto", choice(("auto", "device", "host"))),
    "network.name": ("convnet", choice(networks.NETWORKS)),
    "network.depth": (3, integer(1, 8)),
    "network.width": (128, integer(1, 4096)),  # 128 is the published one, for every network
    # Extractors: NCFM's pretraining.
    "extractors.count": (20, integer(1, 1000)),
    "extractors.seed": (0, SEED),
    "extractors.pool_dir": ("", TEXT),
    "extractors.epochs": (60, integer(1, 100_000)),
    "extractors.batch": (128, integer(1, 65_536)),
    "extractors.optimiser": ("sgd", choice(OPTIMISERS)),
    "extractors.learning_rate": (0.01, RATE),
    "extractors.momentum": (0.9, MOMENTUM),
    "extractors.weight_decay": (5e-4, UNIT),
    "extractors.decay_at": ((2 / 3, 5 / 6), FRACTIONS),
    "extractors.decay": (0.2, number(0.0, 1.0)),
    "extractors.augmentation": ("color_crop", AUGMENTATION),
    "extractors.augmentation_mode": ("ncfm", choice(MODES)),
    "extractors.cutmix": (0.5, UNIT),
    "extractors.logit_adjustment": (0.0, number(0.0, 10.0)),
    # Distillation: NCFM's recipe, the paper's number of steps.
    "distill.seeds": ((0,), several(SEED, least=1)),
    "distill.ipc": (10, integer(1, 10_000)),
    "distill.parameterisation": ("mosaic", choice(PARAMETERISATIONS)),
    "distill.factor": (2, integer(1, 16)),
    "distill.reuse_images": (False, FLAG),
    "distill.steps": (10_000, integer(1, 10_000_000)),
    "distill.log_every": (100, integer(1, 100_000)),
    # Steps between checkpoints, checkpoints that stay, and what a NaN or infinity leads to.
    "distill.checkpoint_every": (500, integer(1, 10_000_000)),
    "distill.keep_checkpoints": (2, integer(1, 1000)),
    "distill.on_nonfinite": ("stop", choice(("stop", "rollback"))),
    "distill.batch": (1024, integer(1, 1_000_000)),
    # Classes in a step; 0 takes all. For many classes: the cost of a step is linear in it.
    "distill.classes_per_step": (0, integer(0, 1_000_000)),
    # Images per forward pass: bounds memory.
    "distill.forward_batch": (4096, integer(1, 1_000_000)),
    # In which the extractors compute while images are distilled.
    "distill.dtype": ("float32", choice(("float32", "bfloat16"))),
    "distill.optimiser": ("adamw", choice(OPTIMISERS)),
    "distill.learning_rate": (1e-3, RATE),
    "distill.momentum": (0.9, MOMENTUM),
    "distill.weight_decay": (5e-4, UNIT),
    "distill.plateau_factor": (0.5, number(0.0, 1.0, open_ends=True)),
    "distill.plateau_patience": (500, integer(1, 10_000_000)),
    "distill.plateau_window": (1, integer(1, 1_000_000)),
    "distill.augmentation": ("color_crop_cutout", AUGMENTATION),
    "distill.augmentation_mode": ("ncfm", choice(MODES)),
    "distill.loss_scale": (300.0, number(0.0, 1e9, open_ends=True)),
    "distill.calibration": (1.0, number(0.0, 1e6)),
    "sdd.kernel": ("rbf", choice(KERNELS)),
    "sdd.scale": (1.0, number(0.0, 1e6, open_ends=True)),
    "sdd.nu": (1.5, number(0.0, 1e3, open_ends=True)),
    "sdd.num_frequencies": (4096, integer(1, 1_000_000)),
    # What features and frequencies are rounded to before they are multiplied; sums are float32.
    "sdd.matmul_dtype": ("float32", choice(("float32", "bfloat16"))),
    "sdd.frequency_method": ("iid", choice(FREQUENCY_METHODS)),
    # The kernel of the method "mmd"; shift-invariant ones take their scale from sdd.
    "mmd.kernel": ("polynomial", choice(mmd.KERNELS)),
    "mmd.degree": (2, integer(1, 16)),
    "mmd.gamma": (1.0, number(0.0, 1e6, open_ends=True)),
    "mmd.coef0": (1.0, number(0.0, 1e6)),  # below 0 the polynomial is no kernel
    "alpha.head": (0.7, OPEN_UNIT),
    "alpha.tail": (0.3, OPEN_UNIT),
    "alpha.single": (0.7, OPEN_UNIT),
    # "tuning" looks at training images outside the long-tailed set: for choosing settings.
    "evaluate.on": ("test", choice(("test", "tuning"))),
    "evaluate.networks": (("convnet",), several(choice(networks.NETWORKS), least=1)),
    "evaluate.count": (5, integer(1, 1000)),
    "evaluate.seed": (1000, SEED),
    "evaluate.epochs": (2000, integer(1, 1_000_000)),
    "evaluate.check_every": (100, integer(1, 1_000_000)),
    "evaluate.batch": (128, integer(1, 65_536)),
    "evaluate.optimiser": ("adamw", choice(OPTIMISERS)),
    "evaluate.learning_rate": (1e-3, RATE),
    "evaluate.momentum": (0.9, MOMENTUM),
    "evaluate.weight_decay": (5e-4, UNIT),
    "evaluate.decay_at": ((0.2, 0.4, 0.6, 0.8), FRACTIONS),
    "evaluate.decay": (0.5, number(0.0, 1.0)),
    "evaluate.augmentation": ("color_crop_cutout_flip_scale_rotate", AUGMENTATION),
    "evaluate.augmentation_mode": ("ncfm", choice(MODES)),
    "evaluate.cutmix": (0.5, UNIT),
}

BOOKKEEPING = (
    "name",
    "data.data_dir",
    "data.cache_dir",
    "data.indices_file",  # what it lists is told by the data's identity
    "data.placement",
    "extractors.pool_dir",
    "distill.log_every",
    "distill.checkpoint_every",
    "distill.keep_checkpoints",
)
"""Fields that say where and how often a run is recorded; no result depends on them."""

MAY_CHANGE = (
    *BOOKKEEPING,
    "baselines",
    "parallel",
    "distill.seeds",
    "distill.steps",
    "distill.forward_batch",
    "distill.on_nonfinite",
    "evaluate.networks",
    "evaluate.count",
)
"""Fields that may change when a run is taken up again: it is recorded otherwise, or extended."""


def default_config() -> ml_collections.ConfigDict:
    """All fields at their defaults, locked against unknown names."""
    config = ml_collections.ConfigDict()
    for name, (default, _) in SCHEMA.items():
        section, _, leaf = name.rpartition(".")
        if section and section not in config:
            config[section] = ml_collections.ConfigDict()
        (config[section] if section else config)[leaf] = default
    return config.lock()


def load(text: str) -> ml_collections.ConfigDict:
    """The configuration of a file, given as `FILE[:argument]`.

    Raises:
      ConfigError: when the file has no `get_config`, or refuses the argument.
      OSError: when it cannot be read.
    """
    path, _, argument = text.partition(":")
    names = runpy.run_path(path)
    if "get_config" not in names:
        raise ConfigError(f"{path} defines no get_config: see configs/")
    return names["get_config"](argument)


def flatten(config: Any) -> dict[str, Any]:
    """`{"section.field": value}` of a ConfigDict, or of a dict that JSON made of one."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict | dict):
            flat |= {f"{name}.{leaf}": inner for leaf, inner in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The fields that keep a run from being taken up again, as "field: before -> now".

    Args:
      before: flat configuration that a run was started with, as JSON gives it back.
      now: flat configuration of the present call.
    """
    before, now = (
        {n: list(v) if isinstance(v, tuple) else v for n, v in flat.items()}
        for flat in (before, now)
    )
    changed = [n for n in {**before, **now} if before.get(n) != now.get(n)]
    found = [n for n in changed if n not in MAY_CHANGE]
    # The first seed of the method writes to the working directory itself.
    if before.get("distill.seeds", [None])[0] != now["distill.seeds"][0]:
        found.append("distill.seeds")
    return [f"{name}: {before.get(name)!r} -> {now.get(name)!r}" for name in found]


def rule_of(name: str) -> Rule:
    """The rule of the field `section.name`.

    Raises:
      ConfigError: for an unknown field; says the nearest valid name.
    """
    if name not in SCHEMA:
        near = difflib.get_close_matches(name, SCHEMA, n=1)
        hint = (
            f"; did you mean config.{near[0]}?" if near else f": choose among {', '.join(SCHEMA)}"
        )
        raise ConfigError(f"config.{name} is not a field{hint}")
    return SCHEMA[name][1]


def check_field(name: str, value: Any) -> None:
    """Raises a ConfigError for an unknown field, or a value that breaks the field's rule."""
    rule = rule_of(name)
    if not rule.accepts(value):
        shown = _shown(value)
        raise ConfigError(f"config.{name} = {shown}: it must be {rule.words}{rule.hint(shown)}")


def _shown(value: Any) -> str:
    """The value as Python writes it; Python itself refuses to write integers of many digits."""
    try:
        return repr(value)
    except ValueError as error:
        return f"<{type(value).__name__}: {error}>"


def validate(config: Any) -> None:
    """Checks every field, before anything is compiled.

    Raises:
      ConfigError: names the field, the value and what it accepts; for an unknown field, the
        nearest valid name.
    """
    flat = flatten(config)
    for name, value in flat.items():
        check_field(name, value)
    missing = sorted(set(SCHEMA) - set(flat))
    if missing:
        raise ConfigError(f"config lacks {', '.join(missing)}: start from default_config()")
    if flat["method"] in flat["baselines"]:
        raise ConfigError(
            f"config.baselines = {flat['baselines']!r}: it must not name config.method "
            f"{flat['method']!r}, which is run anyway"
        )


def parse_argument(argument: str | None, **defaults: Any) -> dict[str, Any]:
    """Reads the part of `--config=file.py:imb=100,ipc=10,cpu` behind the colon.

    Args:
      argument: comma-separated `name=value`; a bare name sets a Boolean.
      **defaults: the names that exist, with defaults that give their types.

    Returns:
      The defaults, updated.

    Raises:
      ConfigError: for an unknown name or a value of another type.
    """
    options = dict(defaults)
    for item in filter(None, (argument or "").split(",")):
        name, equals, value = item.strip().partition("=")
        if name not in defaults:
            raise ConfigError(
                f"config argument {name!r} is unknown: this file takes "
                f"{', '.join(f'{known}={v}' for known, v in defaults.items())}"
            )
        kind = type(defaults[name])
        if kind is bool and not equals:
            options[name] = True
            continue
        try:
            options[name] = {"True": True, "False": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise ConfigError(
                f"config argument {name}={value!r}: it must be of type {kind.__name__}"
            ) from None
    return options
