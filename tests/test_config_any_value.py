"""Whatever value a field is given: the configuration is taken, or refused by the field's name."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from csdm_jax import config as configuration

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 300),
    st.floats(),
    st.floats(0.0, 2.0),
    st.text(max_size=8),
    st.sampled_from([name for _, rule in configuration.SCHEMA.values() for name in rule.names]),
    st.binary(max_size=4),
)
VALUES = SCALARS | st.one_of(
    st.tuples(SCALARS),
    st.tuples(SCALARS, SCALARS),
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.sampled_from(["a", "seed", "name"]), SCALARS, max_size=2),
)
FIELDS = st.sampled_from(sorted(configuration.SCHEMA))
STEADY = settings(derandomize=True, deadline=None, database=None, max_examples=400)


def changed(values):
    """The default configuration with other values, of whatever type."""
    config = configuration.default_config()
    with config.ignore_type(), config.unlocked():
        for name, value in values.items():
            section, _, leaf = name.rpartition(".")
            (config[section] if section else config)[leaf] = value
    return config


def refusal(config):
    """The message of the validator, None where it accepts."""
    try:
        configuration.validate(config)
    except configuration.ConfigError as error:
        return str(error)
    return None


def check_accepted(name, value):
    """What is taken has the type of the default; a number is finite, a name one that exists."""
    default, rule = configuration.SCHEMA[name]
    kind = (int, float) if type(default) is float else type(default)
    assert isinstance(value, kind) and (type(default) is bool or not isinstance(value, bool))
    if isinstance(value, int | float):
        assert math.isfinite(value)
    if rule.names and isinstance(value, str):
        assert value in rule.names
    for part in value if isinstance(value, tuple) else ():
        assert type(part) in {type(one) for one in default} | {int, float, str}
        assert part is not None and part == part and part not in (math.inf, -math.inf)


@STEADY
@given(FIELDS, VALUES)
@example("distill.learning_rate", math.nan)
@example("distill.steps", True)
@example("baselines", ("csdm",))
@example("distill.seeds", ())
def test_any_value_of_a_field_is_taken_or_refused_by_its_name(name, value):
    config = changed({name: value})
    if (message := refusal(config)) is None:
        check_accepted(name, configuration.flatten(config)[name])
    else:
        assert f"config.{name}" in message or f"lacks {name}" in message


@STEADY
@given(st.dictionaries(FIELDS, VALUES, min_size=2, max_size=6))
def test_any_values_of_several_fields_are_taken_or_one_is_named(values):
    config = changed(values)
    if (message := refusal(config)) is None:
        for name in values:
            check_accepted(name, configuration.flatten(config)[name])
    else:
        assert any(f"config.{name}" in message or name in message for name in values)


@STEADY
@given(st.sampled_from(["", "distill.", "sdd."]), st.from_regex(r"[a-z]{1,12}", fullmatch=True))
def test_a_name_that_is_no_field_is_refused(section, leaf):
    if section + leaf in configuration.SCHEMA or leaf in configuration.default_config():
        return
    with pytest.raises(configuration.ConfigError, match=rf"config\.{section}{leaf} is not a field"):
        configuration.validate(changed({section + leaf: 1}))
