import ast
from pathlib import Path

import pytest

from csdm_jax.experiment import command_line, reproduction
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment.config import ConfigError
from csdm_jax.runtime import shipped

FILES = sorted((Path(__file__).parent.parent.parent / "configs").glob("*.py"))
BENCHMARKS = [path for path in FILES if path.stem != "own_data"]


@pytest.mark.parametrize("argument", ["", "cpu", "imb=20,ipc=5", "ipc=3,cpu"])
@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_config_is_valid_and_takes_its_arguments(path, argument):
    config = configuration.load(f"{path}:{argument}")
    configuration.validate(config)
    if "ipc=3" in argument:
        assert config.distill.ipc == 3
    if "imb=20" in argument:
        assert config.data.imbalance_factor == 20.0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_docstring_of_a_config_gives_its_command(path):
    assert f"--config=configs/{path.name}" in ast.get_docstring(ast.parse(path.read_text()))


def test_own_data_have_a_config_with_arguments_of_its_own():
    (path,) = set(FILES) - set(BENCHMARKS)
    config = configuration.load(f"{path}:source=npz,size=64,holdout=0.25,ipc=1,cpu")
    configuration.validate(config)
    read = (config.data.name, config.data.image_size, config.data.holdout, config.data.rule)
    assert read == ("npz", 64, 0.25, "auto") and config.network.depth == 4
    assert (config.distill.ipc, config.alpha.head) == (1, 0.11)


def test_the_four_data_sets_of_the_project_have_a_config():
    names = {path.stem for path in BENCHMARKS}
    assert names == {"digits_lt", "cifar10_lt", "cifar100_lt", "imagenet_subset_lt"}


def test_defaults_satisfy_their_own_rules():
    fields = configuration.schema().items()
    assert [name for name, (default, rule) in fields if not rule.accepts(default)] == []
    configuration.validate(configuration.default_config())


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("distill.learning_rate", float("nan"), r"a number in \(0, 100\)"),
        ("distill.learning_rate", float("inf"), r"a number in \(0, 100\)"),
        ("distill.learning_rate", 0.0, r"a number in \(0, 100\)"),
        ("distill.steps", -5, "an integer from 1 to 10000000"),
        ("distill.steps", True, "an integer"),
        ("data.imbalance_factor", 0.5, r"a number in \[1, 1e\+06\]"),
        ("data.name", "cifar", "one of cifar10, cifar100, digits"),
        (
            "method",
            "unknown",
            "one of .*csdm, csdm_single, .*, dm_weighted, .*, ncfm, .*, rded",
        ),
        ("baselines", ("dm", "unknown"), "a tuple of 0 or more, all different, .*csdm"),
        ("alpha.head", 1.0, r"a number in \(0, 1\)"),
        ("alpha.tail", 0.0, r"a number in \(0, 1\)"),
        ("distill.augmentation", "color_blur", "operations of .* joined by '_'"),
        ("distill.initialisation", "kmean", "one of herding, kmeans, noise, random, realism"),
        ("distill.seeds", (), "a tuple of 1 or more"),
        ("distill.seeds", (1, 1), "a tuple of 1 or more, all different"),
        (
            "evaluate.decay_at",
            (0.5, 1.5),
            r"a tuple of 0 or more, all different, each a number in \(0, 1\)",
        ),
        ("sdd.kernel", "linear", "one of isotropic_laplace, laplace, matern, rbf"),
    ],
)
def test_an_impossible_value_is_refused_with_field_value_and_range(field, value, accepted):
    config = configuration.default_config()
    section, _, leaf = field.rpartition(".")
    with config.ignore_type():
        (config[section] if section else config)[leaf] = value
    with pytest.raises(ConfigError, match=rf"config\.{field} = .*it must be {accepted}"):
        configuration.validate(config)


@pytest.mark.parametrize("field", ["steps", "seeds", "optimiser"])
def test_an_integer_that_python_does_not_write_out_is_refused_by_its_field(field):
    config = configuration.default_config()
    huge = 10**5000
    with config.ignore_type():
        config.distill[field] = (huge,) if field == "seeds" else huge
    with pytest.raises(ConfigError, match=rf"config\.distill\.{field} = <.*>: it must be"):
        configuration.validate(config)


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [("method", "csmd", "did you mean 'csdm'"), ("sdd.kernel", "laplas", "did you mean 'laplace'")],
)
def test_a_misspelt_name_is_answered_with_the_nearest_one(field, value, hint):
    config = configuration.default_config()
    section, _, leaf = field.rpartition(".")
    (config[section] if section else config)[leaf] = value
    with pytest.raises(ConfigError, match=hint):
        configuration.validate(config)


def test_a_method_is_not_its_own_baseline():
    config = configuration.default_config()
    config.baselines = ("dm", "csdm")
    with pytest.raises(ConfigError, match=r"baselines .* must not name config.method 'csdm'"):
        configuration.validate(config)


def test_what_may_change_when_a_run_is_taken_up_again():
    before = configuration.flatten(configuration.default_config())
    after = before | {
        "distill.log_every": 7,
        "distill.steps": 20_000,
        "distill.seeds": (0, 1),
        "baselines": ("dm",),
    }
    assert configuration.differences(before, after) == []
    after |= {"distill.seeds": (1,), "alpha.head": 0.6, "evaluate.decay_at": (0.5,)}
    assert configuration.differences(before, after) == [
        "alpha.head: 0.7 -> 0.6",
        "evaluate.decay_at: [0.2, 0.4, 0.6, 0.8] -> [0.5]",
        "distill.seeds: [0] -> [1]",
    ]


def test_every_field_that_may_change_exists():
    assert set(configuration.MAY_CHANGE) <= set(configuration.schema())


def test_an_unknown_field_is_refused_with_the_nearest_name():
    config = configuration.default_config()
    with config.unlocked():
        config.distill.step = 3
    with pytest.raises(ConfigError, match=r"config.distill.step .* mean config.distill.steps\?"):
        configuration.validate(config)


def test_a_missing_field_is_named():
    config = configuration.default_config()
    with config.unlocked():
        del config.alpha["tail"]
    with pytest.raises(ConfigError, match=r"lacks alpha.tail: start from default_config"):
        configuration.validate(config)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("imbalance=100", "'imbalance' is unknown: this file takes imb=10.0, ipc=2, cpu=False"),
        ("ipc=ten", "ipc='ten': it must be of type int"),
        ("ipc", "ipc='': it must be of type int"),
        ("cpu=maybe", "cpu='maybe': it must be of type bool"),
    ],
)
def test_a_config_argument_is_strict(argument, message):
    with pytest.raises(ConfigError, match=message):
        configuration.parse_argument(argument, imb=10.0, ipc=2, cpu=False)


def test_a_config_argument_has_types():
    options = configuration.parse_argument("imb=50,cpu", imb=10.0, ipc=2, cpu=False)
    assert options == {"imb": 50.0, "ipc": 2, "cpu": True}
    assert configuration.parse_argument(None, ipc=2) == {"ipc": 2}


def test_a_shipped_name_is_that_whatever_lies_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits_lt").mkdir()
    (tmp_path / "configs").mkdir()
    theirs = tmp_path / "configs" / "digits_lt.py"
    theirs.write_text("def get_config(argument): return 7")
    assert configuration.load("digits_lt:ipc=3").distill.ipc == 3
    argv = ["csdm distil", "--config=digits_lt:ipc=3"]
    command_line._find_config(argv)
    assert argv[1] == f"--config={shipped.config('digits_lt')}:ipc=3"
    assert configuration.load("configs/digits_lt.py") == 7
    entry = reproduction.read(reproduction.MANIFEST)["digits_lt/csdm"]
    assert reproduction.config_of(entry).data.name == "digits"
