import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax.runtime.stepping import Stepper


def step(carry, constants, index):
    carry = carry * constants + index
    return carry, {"carry": carry, "index": index}


@pytest.mark.parametrize("strategy", ["loop", "scan"])
def test_steps_follow_one_another_and_metrics_are_stacked(strategy):
    carry, metrics = Stepper(step, strategy=strategy)(jnp.float32(1), jnp.float32(2), 3, 4)
    expected, value = [], 1.0
    for index in range(3, 7):
        value = value * 2 + index
        expected.append(value)
    assert float(carry) == expected[-1]
    np.testing.assert_array_equal(metrics["carry"], expected)
    np.testing.assert_array_equal(metrics["index"], range(3, 7))


def test_a_step_is_compiled_once_for_all_indices_and_calls():
    traces = []

    def counted(carry, constants, index):
        traces.append(index)
        return step(carry, constants, index)

    stepper = Stepper(counted, strategy="loop")
    carry = jnp.float32(0)
    for first in (0, 3, 6):
        carry, _ = stepper(carry, jnp.float32(1), first, 3)
    assert len(traces) == 1


def test_the_strategy_follows_the_backend():
    expected = "loop" if jax.default_backend() == "cpu" else "scan"
    assert Stepper(step).strategy == expected


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match=r"strategy must be one of .* got 'fast'"):
        Stepper(step, strategy="fast")
