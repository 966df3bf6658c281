"""Benchmarks measure what users can call."""

import ast
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.problem import rounds, tiny_loop

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_benchmark_uses_private_names_of_the_package(path):
    used = [
        f"{ast.unparse(node)} (line {node.lineno})"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_")
        if not node.attr.startswith("__") and ast.unparse(node.value) != "self"
    ]
    assert used == []


def test_the_precision_benchmark_measures_the_gradient_of_the_loss(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    precision = importlib.import_module("precision")
    loop = tiny_loop()
    monkeypatch.setattr(precision, "DRAWS", 1)
    (loss, gradient), *more = precision.first_gradients(loop)
    assert not more
    _, metrics = rounds(loop, 1)
    np.testing.assert_allclose(loss, metrics.loss[0], rtol=1e-5)
    norm = metrics.scalars["gradient_norm"][0]
    np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=1e-4)
