"""The quick slice of the fault campaign (`python -m tests.faults.campaign` is the whole)."""

import pytest

from tests.faults import campaign

QUICK = {
    "crash_points": 2,
    "kills": 1,
    "signals": 1,
    "stage_signals": 6,
    "corruptions": 4,
    "bad_configs": 100,
    "bad_flags": 1,
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return campaign.Bench.create(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", campaign.PARTS)
def test_nothing_is_lost_and_nothing_is_wrong(bench, name):
    row = campaign.PARTS[name](bench, QUICK.get(name, 1))
    if row.skipped:
        pytest.skip(row.skipped)
    assert row.tried > 0
    assert (row.lost, row.wrong) == (0, 0), row.notes
