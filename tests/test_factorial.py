"""`launch/factorial.py`: its points, and an analysis of a table with known effects."""

import collections
import csv
import itertools
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from csdm_jax import sweep
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import experiment, sweeps
from csdm_jax.sets import distilled, tracks
from csdm_jax.storage import files
from tests.finished import write_run

FACTORIAL = runpy.run_path(str(Path(__file__).parent.parent / "launch" / "factorial.py"))
DESIGNS = FACTORIAL["DESIGNS"]


def uniform(rows):
    """Whether all combinations of values are there, equally often."""
    counts = collections.Counter(rows)
    whole = np.prod([len({row[at] for row in rows}) for at in range(len(rows[0]))])
    return len(counts) == whole and len({*counts.values()}) == 1


def test_the_fraction_has_all_levels_of_any_three_factors_equally_often():
    every, some = DESIGNS["digits"].points, DESIGNS["cifar10"].points
    assert (len(every), len(some)) == (512, 64)
    assert len({tuple(point.values()) for point in every}) == 512
    for names in itertools.combinations(some[0], 3):
        assert uniform([tuple(point[name] for name in names) for point in some])
    four = [tuple(point[n] for n in ("metric", "schedule", "training", "start")) for point in some]
    assert not uniform(four)  # D = A + B + C


@pytest.mark.parametrize("name", DESIGNS)
def test_seeds_are_even_over_every_combination_whose_effect_is_estimated(name):
    design = DESIGNS[name]
    for pair in design.pairs:
        counts = collections.defaultdict(list)
        for point in design.points:
            counts[tuple(point.get(one) for one in pair)].append(design.seed(point))
        assert {np.mean(seeds) for seeds in counts.values()} == {0.5}, pair


@pytest.mark.parametrize("name", DESIGNS)
def test_every_level_is_a_valid_configuration_of_its_own(name):
    design = DESIGNS[name]
    (axis,) = sweeps.parse(design.sweep)
    points = sweeps.points([axis])
    assert points == [design.fields(point) for point in design.points]
    assert len({sweeps.name_of(point) for point in points}) == len(points)
    config = configuration.load(design.config)
    config.baselines = ()  # as a sweep sets them
    for point in points[:: len(points) // 8]:
        config.update_from_flattened_dict(point)
        configuration.validate(config)
    for flag in (*FACTORIAL["COMMON"], *design.flags):
        configuration.rule_of(flag.removeprefix("--config.").partition("=")[0])


KNOWN = {"start": {"realism": 3.0, "random": -3.0}, "labels": {"soft": 2.0, "hard": -2.0}}


def made_up(design):
    """Rows with the effects of `KNOWN`, and an interaction of exact CSDM with many steps."""
    generator, rows = np.random.default_rng(0), []
    for number, point in enumerate(design.points):
        seed = design.seed(point)
        own = 40 + seed + generator.normal(0, 0.3)
        if point["metric"] == "csdm exact":
            own += 1.5 if point["steps"] == design.levels["steps"][1] else -1.5
        for labels in design.levels["labels"]:
            levels = point | {"labels": labels}
            value = own + sum(KNOWN[name].get(levels[name], 0.0) for name in KNOWN)
            value += generator.normal(0, 0.2)
            own_rare = {"few": value / 2 + 4 * (point["metric"] == "dm")}
            rows.append(levels | {"seed": seed, "set": number, "accuracy": value} | own_rare)
    return rows


def test_the_analysis_finds_what_the_table_holds(tmp_path, capsys):
    pytest.importorskip("statsmodels", reason="the mixed model is that of statsmodels")
    design = DESIGNS["cifar10"]
    FACTORIAL["analyse"](design, made_up(design), tmp_path)
    written = json.loads((tmp_path / "effects.json").read_bytes())
    found = {tuple(one["levels"]): one for one in written if one["response"] == "accuracy"}
    rare = {tuple(one["levels"]): one for one in written if one["response"] == "few"}
    for name, levels in KNOWN.items():
        for level in design.levels[name]:
            one, expected = found[(level,)], levels.get(level, 0.0)
            assert abs(one["value"] - expected) < 0.3 and one["high"] - one["low"] < 0.6
    assert abs(rare["realism",]["value"] - 1.5) < 0.2 and abs(rare["dm",]["value"] - 3) < 0.2
    both = found["csdm exact", design.levels["steps"][1]]
    assert abs(both["value"] - 1.5 * 3 / 4) < 0.3
    text = (tmp_path / "effects.md").read_text()
    assert text == capsys.readouterr().out.removesuffix("\n")
    mains = [line.split(" | ")[0].strip("| ") for line in text.splitlines()[2:]]
    assert mains[:6] == ["start"] * 4 + ["labels"] * 2  # the widest range first
    assert "64 of 64 runs, 2 seeds as blocks" in text
    (line,) = [line for line in text.splitlines() if "| metric | dm |" in line]
    numbers = [cell.split(" to ")[0] for cell in line.split(" | ")[2:]]
    assert abs(float(numbers[0])) < 0.3 and abs(float(numbers[2]) - 3) < 0.2
    # Exact CSDM gains by its interaction alone: the best of the main effects would not have it.
    hard, soft = text.splitlines()[-2:]
    assert (
        "metric csdm exact" in soft and "start realism, steps " + design.levels["steps"][1] in soft
    )
    (hard, low), (soft, high) = (line.rsplit(": ", 1) for line in (hard, soft))
    assert soft.endswith("labels soft") and hard.endswith("labels hard")
    assert float(high) - float(low) > 3 and float(high) > 5
    first, *others = csv.DictReader((tmp_path / "rows.csv").read_text().splitlines())
    assert len(others) == 127 and first.items() >= design.points[0].items()
    assert {path.suffix for path in tmp_path.glob("effects.*")} == {".md", ".json", ".png", ".svg"}


def test_a_finished_run_gives_a_row_a_set_and_kind_of_labels(tmp_path, monkeypatch):
    design, config = DESIGNS["cifar10"], configuration.load("cifar10_lt")
    config.distill.seeds = (0, 1)
    runs = [sweeps.Run({}, config, tmp_path / str(k)) for k in range(len(design.points))]
    monkeypatch.setattr(sweeps, "is_finished", lambda run: run is runs[3])
    digests = []
    for method, seed in runs[3].pairs:
        folder = experiment.run_folder(config, runs[3].workdir, method, seed)
        write_run(folder, "csdm", seed, [50.0 + seed, 60.0 + seed], on="tuning")
        write_run(folder / tracks.FOLDER, "csdm", seed, [70.0, 70.0 + seed], on="tuning")
        own = files.read_sealed_json(folder / distilled.CARD)
        card = files.read_sealed_json(folder / tracks.FOLDER / distilled.CARD)
        digests.append(own[distilled.DIGEST])
        card[tracks.SOFT] = {"set": digests[-1]}
        for one in card["accuracies"]["convnet"]:
            one["by_class"][0] = None  # the largest class has no tuning image, it is not counted
        files.write_sealed_json(folder / tracks.FOLDER / distilled.CARD, card)
    rows = FACTORIAL["measured"](design, runs)
    assert [row["accuracy"] for row in rows] == [55.0, 65.0, 56.0, 65.5]
    assert [row["networks"] for row in rows][1:3] == ["70.00 70.00", "51.00 61.00"]
    assert [row["sha256"] for row in rows][::2] == digests
    assert [(row["seed"], row["labels"]) for row in rows] == [
        (0, "hard"), (0, "soft"), (1, "hard"), (1, "soft")]  # fmt: skip
    assert all(
        row.items() >= design.points[3].items() and row["few"] < row["medium"] for row in rows
    )
    assert len({row["set"] for row in rows}) == 2
    write_run(runs[3].workdir, "csdm", 0, [50.0])
    with pytest.raises(ValueError, match="was tested on the test set: settings are not chosen"):
        FACTORIAL["measured"](design, runs)


def test_the_command_passes_on_what_stands_behind_the_dashes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(sweep, "plan", lambda options: seen.append(options) or ([], [], []))
    monkeypatch.setattr(sweep, "start", lambda options, runs, flags: 3)
    given = ["--design=cifar10", "--jobs=1", "--", "--data_dir=somewhere"]
    assert FACTORIAL["main"]([f"--out={tmp_path}", *given]) == 3
    (options,) = seen
    assert (options.jobs, options.out) == (1, tmp_path)
    assert options.flags[-1] == "--data_dir=somewhere"
    assert {*FACTORIAL["COMMON"], *DESIGNS["cifar10"].flags} < {*options.flags}


def test_settings_are_not_chosen_on_the_test_set_nor_by_nothing(tmp_path, monkeypatch):
    config = configuration.load("digits_lt")
    runs = [sweeps.Run({}, config, tmp_path / str(k)) for k in range(512)]
    monkeypatch.setattr(sweep, "plan", lambda options: ([], runs, []))
    monkeypatch.setattr(sweep, "start", lambda *given: pytest.fail("was started"))
    given = [f"--out={tmp_path}", "--design=digits", "--analyse"]
    with pytest.raises(SystemExit, match=r"evaluate\.on = 'test': settings are not chosen there"):
        FACTORIAL["main"](given)
    config.evaluate.on = "tuning"
    with pytest.raises(SystemExit, match="is finished with these flags: finish some"):
        FACTORIAL["main"](given)
