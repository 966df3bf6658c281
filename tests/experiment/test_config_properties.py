"""Any value in any field: `validate` takes it by the rule that it prints, or names the field."""

import math
import re

import ml_collections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csdm_jax.distillation.methods import METHODS
from csdm_jax.experiment.config import ConfigError, check_field, default_config, schema, validate

repeatable = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.sampled_from([math.nan, math.inf, 0, 0.0, 1, 1.0, 2**31, 10**4000]),
)
KEYS = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=2),
    ),
    max_leaves=5,
)


def likely(name):
    """Values that the field may well take: what is random alone is refused nearly always."""
    default, rule = SCHEMA[name]
    if rule.names:
        one = st.sampled_from(rule.names)
    elif name == "rates":
        one = st.sampled_from(["dm=0.1", "mtt=1", "dm=0.2", "dm=0", "dm", "=1", "me=0.1", "dm=1e2"])
    elif name == "data.counts":
        one = st.sampled_from([5, 0, "cat:5", "a:b:007", "cat:0", "cat", ":3", "cat:٣"])
    elif isinstance(default, str):
        one = st.lists(st.sampled_from(["color", "crop", "none", "blur"]), max_size=3).map("_".join)
    else:
        one = st.one_of(st.integers(-1, 20), st.floats(-0.1, 1.1), st.sampled_from([0.0, 1.0]))
    return st.one_of(one, st.lists(one, max_size=3).map(tuple))


SCHEMA = schema()
FIELDS = st.sampled_from(sorted(SCHEMA))
CHANGES = FIELDS.flatmap(
    lambda name: st.tuples(st.just(name), st.one_of(ANYTHING, likely(name), likely(name)))
)


def is_count(one):
    """A number from 1 to 2147483647, or a text that ends with one behind a colon."""
    if isinstance(one, str):
        _, colon, digits = one.rpartition(":")
        fine = bool(colon and digits) and set(digits) <= set("0123456789")
        digits = digits.lstrip("0")
        return fine and 0 < len(digits) <= 10 and int(digits) < 2**31
    return type(one) is int and 1 <= one < 2**31


def allowed(words, value):
    """What a rule accepts, read from its words."""
    if match := re.fullmatch(r"a tuple of (\d+) or more, all different, each (.*)", words):
        least, each = match.groups()
        if not isinstance(value, tuple) or len(value) < int(least):
            return False
        fine = all(allowed(each, member) for member in value)
        return fine and all(a != b for i, a in enumerate(value) for b in value[:i])
    if match := re.fullmatch(r"an integer from (-?\d+) to (\d+)", words):
        return type(value) is int and int(match[1]) <= value <= int(match[2])
    if match := re.fullmatch(r"a number in ([\[(])(\S+), (\S+)[\])]", words):
        if type(value) not in (int, float) or value != value or value in (math.inf, -math.inf):
            return False
        low, high = float(match[2]), float(match[3])
        return low <= value <= high and (match[1] == "[" or value not in (low, high))
    if match := re.fullmatch(r"a text METHOD=RATE, of a registered method and (.*)", words):
        name, _, rate = value.partition("=") if isinstance(value, str) else ("", "", "")
        try:
            return name in METHODS and allowed(match[1], float(rate))
        except ValueError:
            return False
    if match := re.fullmatch(r"operations of (.*) joined by '_', or 'none'", words):
        known = match[1].split(", ")
        return value == "none" or (isinstance(value, str) and set(value.split("_")) <= set(known))
    if words.startswith("a tuple of numbers from 1 to 2147483647"):
        return isinstance(value, tuple) and all(map(is_count, value))
    if words == "True or False":
        return value is True or value is False
    if words == "a string of printable characters":
        return isinstance(value, str) and value.isprintable()
    names = re.fullmatch("one of (.*)", words)[1].split(", ")
    return isinstance(value, str) and value in names


def answer(changes):
    """What `validate` says of the defaults with some fields changed; None when it takes them."""
    config = default_config().to_dict()
    for name, value in changes.items():
        section, _, leaf = name.rpartition(".")
        (config[section] if section else config)[leaf] = value
    config = ml_collections.ConfigDict(config)  # now: set one by one, it would make 1.0 of True
    try:
        validate(config)
    except ConfigError as error:
        return str(error)
    return None


@repeatable
@given(CHANGES)
def test_a_value_is_taken_by_the_words_of_its_rule_or_refused_by_name(change):
    name, value = change
    said = answer({name: value})
    if name == "baselines" and said and "must not name" in said:
        assert "csdm" in value
    elif name == "rates" and said and "twice" in said:
        assert len({one.partition("=")[0] for one in value}) < len(value)
    elif allowed(SCHEMA[name][1].words, value):
        assert said is None
    else:
        assert said is not None and name in said


@repeatable
@given(st.one_of(PLAIN, st.lists(PLAIN, max_size=2).map(tuple), ANYTHING))
def test_every_field_judges_a_value_by_the_words_of_its_rule(value):
    for name, (_, rule) in SCHEMA.items():
        try:
            check_field(name, value)
            taken = True
        except ConfigError as error:
            taken = False
            assert f"config.{name} = " in str(error)
        assert taken == allowed(rule.words, value), name


@repeatable
@given(
    st.dictionaries(FIELDS, st.none(), min_size=2, max_size=5).flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.one_of(ANYTHING, *[likely(name)] * 4) for name in names}
        )
    )
)
def test_of_several_changes_one_that_breaks_its_rule_is_named(changes):
    said = answer(changes)
    broken = [n for n, value in changes.items() if not allowed(SCHEMA[n][1].words, value)]
    if broken:
        assert said is not None and any(name in said for name in broken)
    elif said is not None:
        method = changes.get("method", "csdm")
        if "twice" in said:
            assert "rates" in changes
        else:
            assert "must not name" in said and method in changes["baselines"]
