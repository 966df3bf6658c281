"""The benchmark of convolutions, at its smallest: it compares what it says it compares."""

import importlib
import json
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
benchmark = importlib.import_module("convolution")


def test_it_measures_every_pass_of_every_implementation(tmp_path, capsys):
    out = tmp_path / "convolution.json"
    small = ["--width=4", "--layers=3", "--images=2", "--repeats=1", f"--out={out}"]
    benchmark.main(small)
    written = json.loads(out.read_text())
    passes = [(row["pass"], row["in_a_loop"]) for row in written["rows"]]
    assert len(set(passes)) == len(passes) == 6
    assert all(row[name]["median"] > 0 for row in written["rows"] for name in ("xla", "ours"))
    assert "out" not in written["settings"]
    assert capsys.readouterr().out.count("| 4 | 3 | 2 |") == 6


def test_it_refuses_implementations_that_differ(monkeypatch):
    wrong = {**benchmark.IMPLEMENTATIONS, "im2col": lambda x, k: benchmark.im2col(x, 1.01 * k)}
    monkeypatch.setattr(benchmark, "IMPLEMENTATIONS", wrong)
    with pytest.raises(ValueError, match="forward, in a loop: False: im2col differs from xla"):
        next(benchmark.measure(4, 3, 2, 1))


def test_a_value_that_is_not_finite_is_a_difference():
    with pytest.raises(ValueError, match="differs"):
        benchmark.check_agreement({"xla": jnp.ones(2), "ours": jnp.array([1.0, jnp.nan])}, "here")
