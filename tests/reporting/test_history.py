import json

import numpy as np
import pytest

from csdm_jax.reporting import history


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_steps_are_averaged_in_bins_of_each_class(tmp_path):
    rows = [{"step": i, "loss": float(i), "phase": [i, 10 * i]} for i in range(120)]
    read = history.read(write(tmp_path / "metrics.jsonl", rows), 2)
    assert read.steps == 120 and read.by_class["phase"].shape == (60, 2)
    np.testing.assert_allclose(read.by_class["phase"][:3], [[0.5, 5], [2.5, 25], [4.5, 45]])
    np.testing.assert_allclose(read.scalars["mean phase"], 5.5 * np.arange(120))
    assert set(read.by_class) == {"phase"}


def test_classes_that_no_step_drew_have_no_value(tmp_path):
    rows = [
        {"step": 0, "loss": 1.0, "amplitude": [3.0, 1.0], "classes": [2, 0]},
        {"step": 1, "loss": 1.0, "amplitude": [5.0, 7.0], "classes": [0, 1]},
    ]
    read = history.read(write(tmp_path / "metrics.jsonl", rows), 3)
    nan = np.nan
    np.testing.assert_array_equal(read.by_class["amplitude"], [[1.0, nan, 3.0], [5.0, 7.0, nan]])


@pytest.mark.parametrize("there", [True, False])
def test_a_run_without_steps_has_no_curves(tmp_path, there):
    path = tmp_path / "metrics.jsonl"
    if there:
        path.write_text("")
    read = history.read(path, 3)
    assert read.steps == 0 and not read.scalars and not read.by_class


def test_the_running_mean_is_over_a_fiftieth_of_the_run(tmp_path):
    rows = [{"step": i, "loss": float(i)} for i in range(100)]
    steps, values = history.read(write(tmp_path / "metrics.jsonl", rows), 1).smoothed("loss")
    np.testing.assert_allclose(values, np.arange(99) + 0.5)
    assert steps[0] == 2 and steps[-1] == 100


def test_numbers_of_each_class_are_kept_whatever_a_method_calls_them(tmp_path):
    rows = [{"step": 0, "loss": 1.0, "spread": [2.0, 4.0], "classes": [1, 2]}]
    read = history.read(write(tmp_path / "metrics.jsonl", rows), 3)
    np.testing.assert_array_equal(read.by_class["spread"], [[np.nan, 2.0, 4.0]])
    assert read.scalars["mean spread"] == [3.0] and set(read.by_class) == {"spread"}
