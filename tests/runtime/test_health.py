import numpy as np
import pytest

from csdm_jax.runtime import health

GOOD = np.array([True, True, True])
BAD_AT_1 = np.array([True, False, True])
BAD_AT_2 = np.array([True, True, False])


@pytest.mark.parametrize(
    ("terms", "fault"),
    [
        pytest.param({"loss": GOOD, "teacher": GOOD}, None, id="none"),
        pytest.param({"teacher": BAD_AT_1, "loss": GOOD}, (1, "teacher"), id="not-listed"),
        pytest.param(
            {"teacher": BAD_AT_1, "loss": BAD_AT_1}, (1, "teacher"), id="what-it-read-first"
        ),
        pytest.param({"loss": BAD_AT_2, "teacher": BAD_AT_1}, (1, "teacher"), id="earlier-first"),
        pytest.param({"loss": BAD_AT_1, "pixels": BAD_AT_1}, (1, "pixels"), id="cause-first"),
        pytest.param({"state": BAD_AT_1, "loss": BAD_AT_1}, (1, "loss"), id="state-last"),
        pytest.param({"loss": BAD_AT_1, "pixels": BAD_AT_2}, (1, "loss"), id="step-first"),
    ],
)
def test_the_first_fault_is_named_whatever_the_term(terms, fault):
    assert health.first_fault(terms) == fault


def test_a_state_may_hold_infinity_but_no_nan():
    assert health.no_nan({"best": np.float32(np.inf), "step": np.int32(1)})
    assert not health.no_nan({"best": np.float32(np.nan)})
    assert health.no_nan({"step": np.int32(1)}) and health.no_nan(())
