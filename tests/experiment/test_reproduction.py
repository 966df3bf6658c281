"""The manifest backs the README's numbers, and its command tells a met number from another."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from csdm_jax import reproduce
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import reproduction, stages
from csdm_jax.experiment.config import OF_THE_RUN
from csdm_jax.reporting import table
from csdm_jax.sets import distilled
from csdm_jax.storage import files

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
ENTRIES = reproduction.read(reproduction.MANIFEST)
NUMBER = r"\d+\.\d(?: ± \d+\.\d)?"


def entry_numbers(entry):
    return {f"{entry.mean:.1f} ± {entry.sd:.1f}", f"{entry.best:.1f}"}


def unbacked(text, entries):
    """Numbers in the tables of a text that no entry of the same group and label has."""
    found, group = [], None
    for line in text.splitlines():
        if link := re.search(r"`results/(\w+)", line):
            group = link[1]
        label, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            continue
        own = [e for n, e in entries.items() if n.startswith(f"{group}/") and e.label == label]
        backed = set().union(*map(entry_numbers, own))
        found += [(label, n) for n in re.findall(NUMBER, " ".join(cells)) if n not in backed]
    return found


def results_section():
    return README[README.index("## Results") : README.index("## What is here")]


def test_every_number_in_the_readme_s_tables_has_an_entry():
    assert len(re.findall(rf"\| {NUMBER} \|", results_section())) >= 3
    assert unbacked(results_section(), ENTRIES) == []


def test_a_number_without_an_entry_is_noticed():
    text = results_section()
    first = re.search(r"\| \w+ \| (\d+\.\d ± \d+\.\d) \|", text)
    changed = text.replace(first[1], "99.9 ± 0.1", 1)
    assert ("99.9 ± 0.1") in [number for _, number in unbacked(changed, ENTRIES)]
    assert unbacked(text, {n: e for n, e in ENTRIES.items() if "/random" not in n})


def test_means_named_elsewhere_are_an_entry_s_too():
    known = set().union(*map(entry_numbers, ENTRIES.values()))
    pages = (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    for path in (*pages, *(ROOT / "configs").glob("*.py")):
        for number in re.findall(r"\d+\.\d ± \d+\.\d", path.read_text()):
            assert number in known, f"{path.name}: {number}"


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_agrees_with_the_committed_table(name):
    entry = ENTRIES[name]
    text = (reproduction.MANIFEST.parent / name.split("/")[0] / "table.md").read_text()
    runs = f"{len(entry.seeds)} x {entry.networks // len(entry.seeds)}"
    cells = f"{runs} | {entry.mean:.1f} ± {entry.sd:.1f} | {entry.best:.1f}"
    assert f"| {entry.method} | {entry.network} | {cells} |" in text.replace("| hard |", "|")


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.sets])
def test_an_entry_agrees_with_the_committed_cards_and_sets(name):
    entry, results = ENTRIES[name], reproduction.MANIFEST.parent
    folders = [results / one["folder"] for one in entry.sets]
    rows = [row for row in table.gather(folders, OF_THE_RUN) if row["network"] == entry.network]
    assert [(row["last"], row["last_std"], row["best"]) for row in rows] == [
        (entry.mean, entry.sd, entry.best)
    ]
    assert [one["seed"] for one in entry.sets] == entry.seeds
    for one, folder in zip(entry.sets, folders, strict=True):
        card = files.read_sealed_json(folder / distilled.CARD)
        assert card[distilled.DIGEST] == one["sha256"] and card["seed"] == one["seed"]
        if (folder / distilled.ARRAYS).exists():
            distilled.load(folder)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_s_configuration_is_the_one_that_its_cards_hold(name):
    entry = ENTRIES[name]
    config = json.loads(json.dumps(configuration.flatten(reproduction.config_of(entry))))
    same = ("baselines", "method", "distill.seeds", "parallel", "evaluate.soft_labels")
    skipped = (*configuration.BOOKKEEPING, *configuration.SOFTENING, *same)
    for path in (reproduction.MANIFEST.parent / name.split("/")[0]).rglob("card.json"):
        card = json.loads(path.read_text())
        if card["method"] == entry.method and entry.network in card["accuracies"]:
            made_with = configuration.flatten(card["config"])
            for field in set(made_with) - {*skipped} - configuration.of_others(entry.method):
                assert config[field] == made_with[field], field


def test_what_stands_behind_the_colon_of_an_entry_s_configuration_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no configs/ lies
    entry = dataclasses.replace(
        next(iter(ENTRIES.values())), config="configs/cifar10_lt.py:imb=50,ipc=20,cpu", overrides={}
    )
    config = reproduction.config_of(entry)
    found = config.data.imbalance_factor, config.distill.ipc, config.network.width
    assert found == (50.0, 20, 32)


def test_a_repetition_s_mean_lies_in_the_interval_as_often_as_is_said():
    generator = np.random.default_rng(0)
    first, second = generator.normal(50, 2, (2, 2000, 6))
    means, deviations = first.mean(1), first.std(1, ddof=1)
    inside = [
        low <= mean <= high
        for mean, (low, high) in zip(
            second.mean(1),
            (
                reproduction.repetition_interval(m, s, 6)
                for m, s in zip(means, deviations, strict=True)
            ),
            strict=True,
        )
    ]
    assert 0.93 < np.mean(inside) < 0.97


OVERRIDES = {
    "distill.batch": 8,
    "distill.steps": 4,
    "evaluate.check_every": 20,
    "evaluate.epochs": 60,
    "evaluate.learning_rate": 0.02,
    "extractors.count": 1,
    "extractors.epochs": 2,
    "network.width": 8,
    "sdd.num_frequencies": 16,
}
"""What the tiny runs change, in the order of their names."""


def small_config():
    config = configuration.load(str(ROOT / "configs/digits_lt.py"))
    config.update_from_flattened_dict(OVERRIDES)
    config.update_from_flattened_dict({"method": "dm", "baselines": (), "evaluate.count": 2})
    return config


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a tiny result, its manifest, and what reproducing leaves."""
    work = tmp_path_factory.mktemp("work")
    stages.run(small_config(), work / "first")
    for card in (work / "first").rglob("card.json"):
        target = work / "results" / "tiny" / card.parent.relative_to(work / "first")
        target.mkdir(parents=True, exist_ok=True)
        for name in ("card.json", "distilled.npz"):
            shutil.copy(card.parent / name, target)
    command(work, "--record", str(work / "results/tiny"), "--config=configs/digits_lt.py")
    return work


def command(work, *flags):
    manifest = work / "results" / "manifest.json"
    return reproduce.main([*flags, f"--manifest={manifest}", f"--out={work / 'again'}"])


@pytest.fixture
def tampered(work, tmp_path):
    """A copy of the results whose only entry is changed by a function."""

    def change(how):
        shutil.copytree(work / "results", tmp_path / "results")
        manifest = tmp_path / "results" / "manifest.json"
        entries = json.loads(manifest.read_text())
        how(entries["tiny/dm"])
        manifest.write_text(json.dumps(entries))
        if (work / "again").exists():
            shutil.copytree(work / "again", tmp_path / "again")
        return tmp_path

    return change


def test_an_entry_holds_what_its_cards_say(work):
    ((name, entry),) = reproduction.read(work / "results" / "manifest.json").items()
    (row,) = table.gather([work / "first", work / "first/runs/dm-seed1"], OF_THE_RUN)
    assert entry.sd > 0  # or the intervals below are points
    assert name == "tiny/dm" and (entry.mean, entry.networks) == (row["last"], 4)
    assert entry.overrides == OVERRIDES
    assert [one["folder"] for one in entry.sets] == ["tiny", "tiny/runs/dm-seed1"]
    rebuilt, made_with = map(configuration.flatten, (reproduction.config_of(entry), small_config()))
    assert rebuilt == made_with


def test_a_number_that_is_met_passes_and_the_same_bytes_are_said(work, capsys):
    assert command(work, "tiny/dm") == 0
    said = capsys.readouterr().out
    assert "tiny/dm: PASS" in said and "2 of 2 distilled sets are the recorded bytes" in said


def test_networks_on_the_committed_images_pass(work, capsys):
    assert command(work, "tiny/dm", "--rescore") == 0
    assert "tiny/dm: PASS" in capsys.readouterr().out
    scored = work / "again" / reproduction.code_digest() / "rescored/tiny-dm"
    assert (scored / "card.json").exists()
    assert not (scored / "metrics.jsonl").exists()  # nothing was distilled


def test_images_older_than_a_field_of_the_configuration_are_scored(tampered, capsys):
    folder = tampered(lambda entry: None)
    for path in (folder / "results").rglob("card.json"):
        card = files.read_sealed_json(path)
        del card["config"]["sdd"]["nu"], card["config"]["parallel"]
        files.write_sealed_json(path, card)
    assert command(folder, "tiny/dm", "--rescore") == 0
    assert "tiny/dm: PASS" in capsys.readouterr().out


def test_another_expected_mean_fails(work, tampered, capsys):
    def shift(entry):
        width = entry["interval"][1] - entry["mean"]
        entry["mean"] += round(2 * width + 1, 2)
        entry["interval"] = reproduction.repetition_interval(
            entry["mean"], entry["sd"], entry["networks"]
        )

    command(work, "tiny/dm")
    assert command(tampered(shift), "tiny/dm") == 1
    assert "tiny/dm: FAIL" in capsys.readouterr().out


def test_a_mean_that_is_not_its_interval_s_is_refused(tampered):
    folder = tampered(lambda entry: entry.update(mean=entry["mean"] + 0.1))
    with pytest.raises(SystemExit, match=r"error: .*tiny/dm has the interval"):
        command(folder, "tiny/dm")


@pytest.mark.parametrize("broken", ["hash", "file", "gone"])
def test_other_bytes_than_the_manifest_s_are_not_scored(broken, tampered):
    def other_hash(entry):
        entry["sets"][1]["sha256"] = "0" * 64

    folder = tampered(other_hash if broken == "hash" else lambda entry: None)
    arrays = folder / "results/tiny/runs/dm-seed1/distilled.npz"
    if broken == "file":
        arrays.write_bytes(arrays.read_bytes()[:-1] + b"?")
    if broken == "gone":
        arrays.unlink()
    shutil.rmtree(folder / "again", ignore_errors=True)
    said = "is not in the repository" if broken == "gone" else "the manifest"
    with pytest.raises(SystemExit, match=f"error: .*{said}"):
        command(folder, "tiny/dm", "--rescore")
    assert not (folder / "again").exists()


def test_an_unknown_name_gets_the_nearest_and_all(work):
    with pytest.raises(SystemExit, match=r"error: .*did you mean 'tiny/dm'\?"):
        command(work, "tiny/md")


def test_the_list_shows_every_entry(capsys):
    assert reproduce.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(ENTRIES)


def test_recording_again_keeps_labels_and_other_groups_and_drops_what_is_gone(tampered):
    folder = tampered(lambda entry: entry.update(label="DM"))
    manifest = folder / "results" / "manifest.json"
    entries = json.loads(manifest.read_text())
    entries |= {"tiny/gone": entries["tiny/dm"], "other/dm": entries["tiny/dm"]}
    manifest.write_text(json.dumps(entries))
    command(folder, "--record", str(folder / "results/tiny"), "--config=configs/digits_lt.py")
    found = reproduction.read(manifest)
    assert list(found) == ["other/dm", "tiny/dm"] and found["tiny/dm"].label == "DM"


def test_results_elsewhere_and_two_settings_of_one_method_are_not_recorded(work, tampered):
    folder = tampered(lambda entry: None)
    given = {"name": "tiny", "config": "configs/digits_lt.py"}
    manifest = folder / "results" / "manifest.json"
    with pytest.raises(reproduction.ManifestError, match="must lie in"):
        reproduction.record(work / "first", manifest=manifest, **given)
    one = folder / "results/tiny/card.json"
    card = files.read_sealed_json(one)
    card["config"]["sdd"]["scale"] = 2.0
    files.write_sealed_json(one, card)
    with pytest.raises(reproduction.ManifestError, match="two settings of tiny/dm"):
        reproduction.record(folder / "results/tiny", manifest=manifest, **given)


def test_a_budget_of_seconds_is_recorded_as_the_steps_that_it_was(tampered):
    folder = tampered(lambda entry: None)
    for path in (folder / "results" / "tiny").rglob("card.json"):
        card = files.read_sealed_json(path)
        card["config"]["distill"]["seconds"] = 5.0
        card["settled"] = {"distill.steps": 7}
        files.write_sealed_json(path, card)
    command(folder, "--record", str(folder / "results/tiny"), "--config=configs/digits_lt.py")
    entry = reproduction.read(folder / "results" / "manifest.json")["tiny/dm"]
    assert entry.overrides["distill.steps"] == 7 and "distill.seconds" not in entry.overrides
    config = reproduction.config_of(entry)
    reproduction._place(folder / "results" / "tiny", folder / "placed", config)
    placed = distilled.load(folder / "placed")[1]
    assert stages.changed_fields(placed, config) == []
    assert placed["config"]["distill"]["steps"] == 7
    for path in (folder / "results" / "tiny").rglob("card.json"):
        card = files.read_sealed_json(path)
        card["config"]["recipe"] = "published"
        files.write_sealed_json(path, card)
    with pytest.raises(SystemExit, match="cannot be recorded"):
        command(folder, "--record", str(folder / "results/tiny"), "--config=configs/digits_lt.py")
