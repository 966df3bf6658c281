"""The configuration of an experiment: every field, its default and what it accepts.

Each room lists its fields in its `settings`, a method those that are its own in its `Kind`;
`schema` puts them together. `default_config` builds the ConfigDict from it (the settings of the
paper and of NCFM's recipe), `validate` checks one before anything is compiled, and the files in
`configs/` change what a data set needs.
"""

from __future__ import annotations

import difflib
import runpy
from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections

from csdm_jax.data import settings as data_settings
from csdm_jax.distillation import settings as distillation_settings
from csdm_jax.distillation.methods import METHODS
from csdm_jax.evaluation import settings as evaluation_settings
from csdm_jax.networks import settings as network_settings
from csdm_jax.runtime import shipped
from csdm_jax.runtime.fields import RATE, TEXT, Field, Rule, choice, flatten, several
from csdm_jax.training import settings as training_settings


class ConfigError(ValueError):
    """A field of the configuration breaks its rule."""


def _rate_of(text: str) -> tuple[str, float] | None:
    """Method and rate of "METHOD=RATE"; None for another text."""
    name, _, value = text.partition("=")
    try:
        rate = float(value)
    except ValueError:
        return None
    return (name, rate) if name in METHODS and RATE.accepts(rate) else None


RECIPES = ("ours", "published")
FIELDS = {
    "name": Field("experiment", TEXT),
    # The method whose output goes to the working directory itself, and those it is compared with.
    "method": Field("csdm", choice(METHODS)),
    "baselines": Field((), several(choice(METHODS))),
    # "ours": one protocol for all methods; "published": with each method the settings that its
    # authors published for it, in place of this configuration's.
    "recipe": Field("ours", choice(RECIPES)),
    # Methods with a distill.learning_rate of their own: see launch/rates.py, which finds them.
    "rates": Field(
        (),
        several(
            Rule(
                f"a text METHOD=RATE, of a registered method and {RATE.words}",
                lambda v: isinstance(v, str) and _rate_of(v) is not None,
            )
        ),
    ),
}


def schema() -> dict[str, Field]:
    """Every field as "section.field", those of the registered methods among them."""
    rooms = (data_settings, network_settings, training_settings, distillation_settings)
    fields = dict(FIELDS)
    for room in rooms:
        fields |= room.FIELDS
    for name, kind in METHODS.items():
        if clash := [one for one, field in kind.fields.items() if fields.get(one, field) != field]:
            raise ConfigError(f"method {name!r} gives {', '.join(clash)} another meaning")
        fields |= kind.fields
    return fields | evaluation_settings.FIELDS


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
    "distill.tensorboard",
)
"""Fields that say where and how often a run is recorded; no result depends on them."""

MAY_CHANGE = (
    *BOOKKEEPING,
    "baselines",
    "rates",  # each method's run has its own as distill.learning_rate
    "parallel",
    "distill.seeds",
    "distill.steps",
    "distill.forward_batch",
    "distill.on_nonfinite",
    "evaluate.networks",
    "evaluate.count",
    "evaluate.soft_labels",
)
"""Fields that may change when a run is taken up again: it is recorded otherwise, or extended."""

SOFTENING = ("evaluate.soft_temperature", "evaluate.soft_correction")
"""Fields that nothing depends on but soft labels, whose card says them itself."""

OF_THE_RUN = ("method", *(n for n in MAY_CHANGE if n != "distill.steps"), *SOFTENING)
"""Fields that may differ between the runs of one row of a table."""


def default_config() -> ml_collections.ConfigDict:
    """All fields at their defaults, locked against unknown names."""
    config = ml_collections.ConfigDict()
    for name, (default, _) in schema().items():
        section, _, leaf = name.rpartition(".")
        if section and section not in config:
            config[section] = ml_collections.ConfigDict()
        (config[section] if section else config)[leaf] = default
    return config.lock()


def load(text: str) -> ml_collections.ConfigDict:
    """The configuration of a file, given as `FILE[:argument]` or `NAME[:argument]`.

    Raises:
      ConfigError: when the file has no `get_config`, or refuses the argument.
      OSError: when it cannot be read.
    """
    path, _, argument = text.partition(":")
    names = runpy.run_path(str(shipped.located(path)))
    if "get_config" not in names:
        raise ConfigError(f"{path} defines no get_config: see configs/")
    return names["get_config"](argument)


def of_method(config: Any, method: str) -> Any:
    """The configuration with which a method is run.

    The same one, or a copy with what is the method's own: the settings that its authors published
    under `recipe=published`, its rate among `rates`, and what `Kind.own` says.
    """
    kind = METHODS[method]
    own = dict(kind.published) if config.recipe == "published" else {}
    if (rate := rates(config).get(method)) is not None:
        own["distill.learning_rate"] = rate
    changed = _updated(config, own)
    return _updated(changed, kind.own(changed))


def rates(config: Any) -> dict[str, float]:
    """The methods with a rate of their own, and what it is."""
    return dict(filter(None, map(_rate_of, config.rates)))


def _updated(config: Any, fields: Mapping[str, Any]) -> Any:
    """The same configuration, or a copy with other values of some fields."""
    if not fields:
        return config
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(dict(fields))
    return changed


def of_others(method: str) -> set[str]:
    """The fields that are other methods' own: no run of this one depends on them.

    None for a method that is not registered.
    """
    if method not in METHODS:
        return set()
    every = {name for kind in METHODS.values() for name in kind.fields}
    return every - METHODS[method].fields.keys()


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The fields that keep a run from being taken up again, as "field: before -> now".

    Args:
      before: flat configuration that a run was started with, as JSON gives it back. A field that
        it lacks, of a method that came later, had its default.
      now: flat configuration of the present call.
    """
    defaults = {name: field.default for name, field in schema().items()}
    before, now = (
        {n: list(v) if isinstance(v, tuple) else v for n, v in flat.items()}
        for flat in (defaults | before, now)
    )
    changed = [n for n in {**before, **now} if before.get(n) != now.get(n)]
    free = MAY_CHANGE if before["evaluate.soft_labels"] else (*MAY_CHANGE, *SOFTENING)
    found = [n for n in changed if n not in free]
    # The first seed of the method writes to the working directory itself.
    if before.get("distill.seeds", [None])[0] != now["distill.seeds"][0]:
        found.append("distill.seeds")
    return [f"{name}: {before.get(name)!r} -> {now.get(name)!r}" for name in found]


def other_rates(before: Mapping[str, Any], now: Any) -> list[str]:
    """The methods of two configurations that have other rates in them, as "field: before -> now".

    Args:
      before: a configuration, as JSON gives it back.
      now: another.
    """
    own = dict(filter(None, map(_rate_of, before.get("rates", ()))))
    both = {before["method"], *before["baselines"]} & {now.method, *now.baselines}
    pairs = {name: (own.get(name), rates(now).get(name)) for name in sorted(both)}
    return [f"rates of {n}: {old} -> {new}" for n, (old, new) in pairs.items() if old != new]


def overrides(base: Any, config: Any) -> dict[str, Any]:
    """The fields by which a configuration is another experiment than its file's.

    Such a one has to have a directory of its own.
    """
    before, now = flatten(base), flatten(config)
    changed = {n: v for n, v in now.items() if n not in MAY_CHANGE and before.get(n) != v}
    if before["distill.seeds"][:1] != now["distill.seeds"][:1]:
        changed["distill.seeds"] = now["distill.seeds"]
    if before["rates"] != now["rates"]:
        changed["rates"] = now["rates"]
    return changed


def fewer(before: Any, now: Any) -> list[str]:
    """The fields by which less is run than before, as "field: before -> now".

    Args:
      before: a configuration, as JSON gives it back.
      now: another.
    """
    old, new = flatten(before), flatten(now)
    lists = ("baselines", "distill.seeds", "evaluate.networks")
    found = [name for name in lists if set(old.get(name, ())) - set(new[name])]
    numbers = ("distill.steps", "evaluate.count", "evaluate.soft_labels")
    found += [name for name in numbers if old.get(name, 0) > new[name]]
    return [f"{name}: {old[name]!r} -> {new[name]!r}" for name in found]


def rule_of(name: str) -> Rule:
    """The rule of the field `section.name`.

    Raises:
      ConfigError: for an unknown field; says the nearest valid name.
    """
    fields = schema()
    if name not in fields:
        hint = f": choose among {', '.join(fields)}"
        if near := _nearest(name, fields):
            hint = f"; did you mean {' or '.join(f'config.{one}' for one in near)}?"
        raise ConfigError(f"config.{name} is not a field{hint}")
    return fields[name].rule


def _nearest(name: str, fields: Iterable[str]) -> list[str]:
    """Fields that may be meant: one alike, or all of other sections with the same last word."""
    section, _, word = name.rpartition(".")
    same = [one for one in fields if one.rpartition(".")[2] == word]
    alike = difflib.get_close_matches(name, same if section else [], n=1, cutoff=0.8)
    return alike or same or difflib.get_close_matches(name, fields, n=1)


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
    missing = sorted(set(schema()) - set(flat))
    if missing:
        raise ConfigError(f"config lacks {', '.join(missing)}: start from default_config()")
    if flat["method"] in flat["baselines"]:
        raise ConfigError(
            f"config.baselines = {flat['baselines']!r}: it must not name config.method "
            f"{flat['method']!r}, which is run anyway"
        )
    named = [text.partition("=")[0] for text in flat["rates"]]
    if twice := [name for name in named if named.count(name) > 1]:
        raise ConfigError(f"config.rates names {twice[0]} twice: give it one rate")


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
