"""The benchmark of what steps cost: its configuration and its ratios."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from csdm_jax.distillation import methods
from csdm_jax.experiment.config import ConfigError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
cost = importlib.import_module("cost")


def row(method, ipc, seconds, peak):
    return {"method": method, "ipc": ipc, "seconds": {"median": seconds}, "peak_mib": peak}


def test_ratios_are_to_csdm_at_the_same_ipc():
    known = [row("csdm", 10, 2.0, 100.0), row("csdm", 20, 4.0, 100.0)]
    found = cost.with_ratios(row("dm", 20, 6.0, 50.0), known)
    assert (found["ratio"], found["peak_ratio"]) == (1.5, 0.5)
    assert cost.with_ratios(row("dm", 50, 6.0, 50.0), known)["ratio"] is None


def test_a_row_has_the_preset_with_the_fields_that_are_given():
    given = ["--head", "20", "--side", "8", "--folder", "pool", "--set", "network.width=4"]
    options = cost.arguments([*given, "recipe=published"])
    config = cost.configuration(options, "dm", 20)
    assert (config.method, config.distill.ipc, config.network.width) == ("dm", 20, 4)
    for name in ("lad", "datm", "att", "dc"):  # their rules hold, with experts trained so briefly
        methods.check(name, cost.configuration(options, name, 20))
    assert config.recipe == "published" and config.extractors.pool_dir == "pool"
    images = cost.noise(options)
    assert images.train_images.shape == (200, 8, 8, 3) and images.image_shape == (8, 8, 3)
    np.testing.assert_array_equal(np.bincount(images.train_labels), 20)
    with pytest.raises(ConfigError, match=r"distill\.nothing"):
        cost.configuration(cost.arguments(["--set", "distill.nothing=1"]), "dm", 20)
