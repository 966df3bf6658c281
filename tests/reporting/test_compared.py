"""A comparison's tables: intervals by seed, every pair, corrected p, costs."""

import json

import numpy as np
import pytest
from scipy import stats

from csdm_jax.reporting import compared
from csdm_jax.sets import distilled, tracks
from csdm_jax.storage import files
from tests.finished import write_run

ACCURACIES = {  # of two networks, by distillation seed
    "random": ([40.0, 42.0], [41.0, 45.0], [39.0, 40.0]),
    "dm": ([50.0, 53.0], [54.0, 52.0], [50.0, 49.0]),
    "csdm": ([51.0, 52.0], [57.0, 55.0], [49.0, 51.0]),
}


@pytest.fixture
def workdir(tmp_path):
    for method, by_seed in ACCURACIES.items():
        for seed, values in enumerate(by_seed):
            own = method == "csdm" and seed == 0
            folder = tmp_path if own else tmp_path / "runs" / f"{method}-seed{seed}"
            write_run(folder, method, seed, values)
    return tmp_path


def test_intervals_and_p_are_over_distillation_seeds(workdir):
    found = compared.write(workdir, ["random", "dm", "csdm"])
    means = {name: np.mean(values, axis=1) for name, values in ACCURACIES.items()}
    assert [row["method"] for row in found["methods"]] == ["csdm", "dm", "random"]
    for row in found["methods"]:
        own = means[row["method"]]
        low, high = stats.t.interval(0.95, 2, own.mean(), stats.sem(own))
        np.testing.assert_allclose([row["last"], *row["interval"]], [own.mean(), low, high], 1e-3)
        assert (row["seeds"], row["networks"], row["labels"]) == (3, 6, "hard")
    ps = []
    for pair in found["pairs"]:
        gap = means[pair["second"]] - means[pair["first"]]
        np.testing.assert_allclose(pair["difference"], gap.mean(), atol=0.005)
        ps.append(stats.ttest_1samp(gap, 0).pvalue)
        np.testing.assert_allclose(pair["p"], ps[-1])
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [
        ("random", "dm"), ("random", "csdm"), ("dm", "csdm"),
    ]  # fmt: skip
    order = np.argsort(ps)
    expected = np.maximum.accumulate(np.minimum(1, np.array(ps)[order] * [3, 2, 1]))
    corrected = np.array([pair["p_corrected"] for pair in found["pairs"]])
    np.testing.assert_allclose(corrected[order], expected)


def test_costs_are_those_of_the_timings_and_the_arrays(workdir):
    (row,) = compared.compared(workdir, ["dm"])["methods"]
    assert (row["steps"], row["seconds_a_step"], row["seconds"]) == (20, 30 / 20, 37.5)
    assert row["peak_bytes"] == 2_000_000_000
    assert row["stored_bytes"] == 6 * 8 * 8 * 3 * 4  # hard labels cost nothing
    assert row["rate"] is None  # a card of before it was kept
    for name in ("dm-seed0", "random-seed0"):
        card = files.read_sealed_json(workdir / "runs" / name / distilled.CARD)
        card["config"]["distill"]["learning_rate"] = 0.003
        files.write_sealed_json(workdir / "runs" / name / distilled.CARD, card)
    for path in workdir.glob("runs/random-*/timings.json"):
        files.write_sealed_json(path, {"distillation": 0.0})  # a selection makes no steps
    found = compared.compared(workdir, ["random", "dm"])
    assert {one["method"]: one["rate"] for one in found["methods"]} == {"random": None, "dm": 0.003}
    assert "| dm | 0.003 | 20 | 1.5 |" in compared.text(found)


def test_two_seeds_come_with_a_warning_about_p(tmp_path):
    for seed in (0, 1):
        for name in ("dm", "csdm"):
            folder = tmp_path / "runs" / f"{name}-seed{seed}"
            write_run(folder, name, seed, [len(name) + seed + 0.0])
    assert "weak evidence" in compared.text(compared.compared(tmp_path, ["dm", "csdm"]))
    assert "weak evidence" not in compared.text(compared.compared(tmp_path, ["dm"]))
    for name in ("dm", "csdm"):
        write_run(tmp_path / "runs" / f"{name}-seed2", name, 2, [50.0])
    assert "weak evidence" not in compared.text(compared.compared(tmp_path, ["dm", "csdm"]))


def test_soft_labels_of_the_shared_teacher_have_a_column(workdir):
    values = ([60.0, 62.0], [64.0, 66.0], [59.0, 61.0])
    for seed, own in enumerate(values):
        run = workdir / "runs" / f"dm-seed{seed}"
        write_run(run / tracks.FOLDER, "dm", seed, own)
        result, card = distilled.load(run / tracks.FOLDER)
        facts = {"set": distilled.load(run)[1][distilled.DIGEST]}
        distilled.save(run / tracks.FOLDER, result, card | {tracks.SOFT: facts})
    dm, random = compared.compared(workdir, ["random", "dm"])["methods"]
    means = np.mean(values, axis=1)
    low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
    np.testing.assert_allclose([dm["soft"]["last"], *dm["soft"]["interval"]],
                               [means.mean(), low, high], 1e-3)  # fmt: skip
    assert random["soft"] is None
    text = compared.text({"methods": [dm, random], "pairs": []})
    assert f"| 62.0 ({low:.1f} to {high:.1f}) |" in text
    assert dm["last"] == pytest.approx(np.mean(ACCURACIES["dm"]), abs=0.01)


def test_files_are_left_and_say_the_same(workdir):
    found = compared.write(workdir, ["random", "csdm"])
    assert json.loads((workdir / "compare.json").read_text()) == found
    text = (workdir / "compare.md").read_text()
    assert text == compared.text(found) and "| random | csdm | " in text
    assert (workdir / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_section_of_the_page_has_the_same_cells(workdir):
    found = compared.compared(workdir, ["random", "dm", "csdm"])
    section = compared.section(found)
    cells = [row for name in ("accuracies", "costs", "pairs") for row in section[name]["rows"]]
    lines = compared.text(found).splitlines()
    assert len(cells) == 9 and all(f"| {' | '.join(row)} |" in lines for row in cells)
    assert section["figure"][0].startswith("<svg") and section["note"] == lines[-1]


def test_an_earlier_comparison_is_brought_up_to_date(workdir):
    assert compared.renewed(workdir, ["random", "dm", "csdm"]) is None
    before = compared.write(workdir, ["random", "csdm"])
    assert compared.renewed(workdir, ["random", "dm", "csdm"]) == before
    write_run(workdir / "runs" / "random-seed0", "random", 0, [44.0, 46.0])
    after = compared.renewed(workdir, ["random", "dm", "csdm"])
    assert after != before and json.loads((workdir / "compare.json").read_text()) == after
    (workdir / "compare.json").write_text("{")
    assert compared.renewed(workdir, ["random"]) is None


def test_one_method_and_one_seed_have_no_pair_and_no_interval(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0, 52.0])
    found = compared.write(tmp_path, ["csdm"])
    assert found["pairs"] == [] and found["methods"][0]["interval"] is None
    assert "| csdm | hard | 1 x 2 | 51.0 | - |" in compared.text(found)


def test_a_method_that_has_not_run_is_named(workdir):
    with pytest.raises(ValueError, match="no evaluated run"):
        compared.compared(workdir, ["dm", "ncfm"])
