"""What a user registers: the examples of docs/extending.md, and names that are taken."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import csdm_jax
from csdm_jax import data, networks, parameterisations
from csdm_jax.distillation import methods
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import stages
from csdm_jax.runtime.registry import Registry
from tests.test_main import SMALL

PAGE = (Path(__file__).parent.parent.parent / "docs" / "extending.md").read_text()
METHOD, NETWORK, PARAMETERISATION, SOURCE = re.findall(r"```python\n(.*?)```", PAGE, re.S)
REGISTRIES = (
    methods.METHODS,
    networks.NETWORKS,
    parameterisations.PARAMETERISATIONS,
    data.OWN,
)


@pytest.fixture(autouse=True)
def forgotten():
    """Nothing that a test registers is there for the next one."""
    before = [(set(registry), registry) for registry in REGISTRIES]
    yield
    for names, registry in before:
        for name in set(registry) - names:
            del registry[name]


def test_every_example_is_short():
    for code in (METHOD, NETWORK, PARAMETERISATION, SOURCE):
        assert len([line for line in code.splitlines() if line]) <= 17


def test_a_method_of_a_configuration_runs_with_its_own_fields(tmp_path):
    (tmp_path / "mine.py").write_text(METHOD)
    (command,) = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    line = [sys.executable, "-m", "csdm_jax.cli", *command.split()[1:], "--config.baselines=()"]
    done = subprocess.run(
        [*line, *SMALL, "--workdir=run"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "| mine | convnet |" in done.stdout
    wrong = subprocess.run(
        [*line, "--config.mine.strenth=3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert wrong.returncode == 1 and "mine.strength" in wrong.stderr


def test_network_parameterisation_and_data_go_through_all_stages(tmp_path):
    for code in (NETWORK, PARAMETERISATION, SOURCE):
        exec(code, {"__name__": "mine"})
    config = configuration.load("own_data:source=stripes,ipc=1,cpu,holdout=0.2")
    small = (flag.removeprefix("--config.").split("=") for flag in SMALL)
    config.update_from_flattened_dict({name: int(value) for name, value in small})
    config.update_from_flattened_dict(
        {"network.name": "perceptron", "distill.parameterisation": "grey", "baselines": ()}
    )
    config.evaluate.networks = ("perceptron",)
    _, rows = stages.run(config, tmp_path)
    assert [row["network"] for row in rows] == ["perceptron"]
    with np.load(tmp_path / "distilled.npz") as arrays:
        assert arrays["images"].shape == (2, 8, 8, 1)


def test_a_name_that_is_taken_is_refused_but_not_to_the_file_that_took_it():
    for register in (
        csdm_jax.register_method,
        csdm_jax.register_network,
        csdm_jax.register_parameterisation,
        csdm_jax.register_data,
    ):
        taken = {"method": "dm", "network": "vgg11", "data": "npz"}.get(
            register.__name__.partition("_")[2], "pixels"
        )
        with pytest.raises(ValueError, match=f"{taken!r} already: register yours by another"):
            register(taken)(object())
        register("mine")(object)
        register("mine")(int)  # the same file, run again
    with pytest.raises(ValueError, match="there is a data set 'digits' already"):
        csdm_jax.register_data("digits")(object())
    registry = Registry("thing", "none", {})
    registry.register("a", 1, origin="one.py")
    with pytest.raises(ValueError, match="there is a thing 'a' already"):
        registry.register("a", 2, origin="two.py")
    registry.register("b", 1, origin="<stdin>")
    registry.register("b", 2, origin="/somewhere/ipykernel_1/2.py")
    assert registry["b"] == 2


@pytest.mark.parametrize(
    ("name", "why"), [("bad", "No module named 'nowhere'"), ("ours", "'ours' already")]
)
def test_a_package_that_cannot_be_used_is_named_every_time(name, why, monkeypatch):
    points = [
        metadata.EntryPoint(name, "nowhere:THING" if name == "bad" else "math:pi", "g"),
        metadata.EntryPoint("good", "math:tau", "g"),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    registry = Registry("thing", "g", {"ours": 1})
    for _ in range(2):  # what is listed after it does not vanish in silence
        with pytest.raises(ImportError, match=f"the thing '{name}' of another package.*{why}"):
            registry["good"]
    assert registry["ours"] == 1
    points.pop(0)
    assert sorted(registry) == ["good", "ours"]


def test_entry_points_are_loaded_when_they_are_asked_for(monkeypatch):
    loaded = []

    class Point:
        name, value = "theirs", "package:THING"

        def load(self):
            loaded.append(self.name)
            return 7

    monkeypatch.setattr(metadata, "entry_points", lambda group: [Point()] if group == "g" else [])
    registry = Registry("thing", "g", {"ours": 1})
    assert registry["ours"] == 1 and loaded == []
    assert registry["theirs"] == 7 and sorted(registry) == ["ours", "theirs"]
    assert "other" not in registry and loaded == ["theirs"]


def test_an_entry_point_that_cannot_be_loaded_is_named(monkeypatch):
    class Point:
        name, value = "theirs", "package:THING"

        def load(self):
            raise AttributeError("no THING")

    monkeypatch.setattr(metadata, "entry_points", lambda group: [Point()])
    told = r"the thing 'theirs' of another package \(package:THING\) cannot be loaded \(no THING"
    with pytest.raises(ImportError, match=told):
        sorted(Registry("thing", "g", {"ours": 1}))


def test_an_entry_point_may_name_what_its_module_registers(monkeypatch, tmp_path):
    (tmp_path / "plugged.py").write_text(
        "import csdm_jax\n\n\n@csdm_jax.register_network('perceptron')\n"
        "class Perceptron:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    point = metadata.EntryPoint("perceptron", "plugged:Perceptron", networks.NETWORKS.group)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point])
    monkeypatch.setattr(networks.NETWORKS, "_open", True)
    assert networks.NETWORKS["perceptron"].__name__ == "Perceptron"
