"""The numbers in the README's tables, made again and compared.

`results/manifest.json` has an entry for each row of a table. An entry passes when the new mean lies
in its interval, which 95 of 100 repetitions would if all networks were independent (those of one
distillation seed share its images). Seeds are those of the entry. What is there of an earlier call
with the same code is taken up. The manifest is written from a folder of results, not by hand.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from scipy.special import stdtrit

from csdm_jax import data
from csdm_jax.evaluation import statistics
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import experiment, stages
from csdm_jax.reporting import table
from csdm_jax.runtime import shipped
from csdm_jax.sets import distilled
from csdm_jax.storage import files

MANIFEST = shipped.root() / "results" / "manifest.json"


class ManifestError(ValueError):
    """The manifest, or a file that it names, is not what it should be."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of a table; accuracies in percent.

    Attributes:
      label: its first cell.
      config: file and argument.
      overrides: flat fields of the configuration that differ from that file's.
      method: of the run.
      network: that was trained on the distilled images.
      seeds: of the distillation.
      networks: how many were trained, over all seeds.
      mean: of the last epoch.
      sd: of the sample.
      best: mean of the best epochs, optimistic.
      interval: in which a repetition's mean lies, see `repetition_interval`.
      data: SHA-256 of the long-tailed set's indices and pixels.
      sets: of each seed, SHA-256 of `distilled.npz` and its folder beside the manifest.
      versions: with which the numbers were made.
      device: on which they were made.
    """

    label: str
    config: str
    overrides: dict[str, Any]
    method: str
    network: str
    seeds: list[int]
    networks: int
    mean: float
    sd: float
    best: float
    interval: list[float]
    data: dict[str, str]
    sets: list[dict[str, Any]]
    versions: dict[str, str]
    device: str


def repetition_interval(mean: float, sd: float, count: int) -> list[float]:
    """Where the mean of `count` further networks lies with a probability of 95 %.

    `mean ± t sd sqrt(2 / count)`, for normal accuracies: both means scatter. Wider, by the square
    root of 2, than the interval of the true mean.
    """
    half = float(stdtrit(count - 1, 0.975)) * sd * np.sqrt(2 / count)
    return [round(float(mean - half), 2), round(float(mean + half), 2)]


def read(manifest: Path) -> dict[str, Entry]:
    """The entries by their names.

    Raises:
      FileNotFoundError: when there is no manifest.
      ManifestError: for one that cannot be read, or an entry that contradicts itself.
    """
    try:
        entries = {
            name: Entry(**fields) for name, fields in json.loads(manifest.read_text()).items()
        }
    except (AttributeError, TypeError, json.JSONDecodeError) as error:
        raise ManifestError(f"{manifest} is no manifest ({error}): record it again") from error
    for name, entry in entries.items():
        expected = repetition_interval(entry.mean, entry.sd, entry.networks)
        if entry.interval != expected:
            raise ManifestError(
                f"{manifest}: {name} has the interval {entry.interval}, its mean, sd and number of "
                f"networks give {expected}: record it again"
            )
    return entries


def _shipped(config: str) -> Any:
    """A configuration as it comes with the project, whatever the working directory holds."""
    file, colon, argument = config.partition(":")
    return configuration.load(f"{shipped.config(file) or file}{colon}{argument}")


def config_of(entry: Entry) -> Any:
    """The configuration that made an entry's numbers.

    Raises:
      ConfigError: when a field does not exist any more, or breaks its rule.
      OSError: when its file cannot be read.
    """
    config = _shipped(entry.config)
    given = entry.overrides | {
        "method": entry.method,
        "baselines": (),
        "distill.seeds": entry.seeds,
        "evaluate.networks": [entry.network],
        "evaluate.count": entry.networks // len(entry.seeds),
    }
    for field in given:
        configuration.rule_of(field)
    config.update_from_flattened_dict(
        {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    )
    configuration.validate(config)
    return config


def reproduce(
    entry: Entry, workdir: Path, *, rescored_from: Path | None = None, data_dir: str = ""
) -> tuple[bool, list[str]]:
    """Makes an entry's number again, or goes on with it.

    Args:
      entry: of the manifest.
      workdir: where everything is written.
      rescored_from: the manifest's folder, to train networks on the distilled sets that lie there;
        None distils them again.
      data_dir: see `config.data.data_dir`.

    Returns:
      Whether the new mean lies in the entry's interval, and lines that say so.

    Raises:
      ManifestError: when a distilled set is not there, or is not the one of the manifest.
      Others: see `csdm_jax.experiment.stages.run`.
    """
    config = config_of(entry)
    if config.data.name in data.EMBEDDED and data_dir:
        logging.info("%s comes with its package: data_dir is for other entries", config.data.name)
    config.data.data_dir = "" if config.data.name in data.EMBEDDED else data_dir
    config.extractors.pool_dir = str(workdir.parent / "pool")
    pairs = experiment.runs_of(config)
    folders = [experiment.run_folder(config, workdir, *pair) for pair in pairs]
    if rescored_from:
        sources = committed(entry, rescored_from)
        for (_, seed), folder in zip(pairs, folders, strict=True):
            _place(sources[seed], folder, config)
    done, _ = stages.run(config, workdir, stage="evaluate" if rescored_from else "all")
    (row,) = table.gather(folders, configuration.OF_THE_RUN)
    passed, lines = _verdict(entry, row)
    if {name: done.data_identity[name] for name in entry.data} != entry.data:
        passed, lines = False, ["FAIL: the training images are not those of the entry", *lines[1:]]
    elif "images_sha256" not in entry.data:
        lines.append("  the pixels of the training images were not recorded: indices agree")
    if not rescored_from:
        lines.append(_bytes_line(entry, pairs, folders))
    return passed, lines


def committed(entry: Entry, root: Path) -> dict[int, Path]:
    """The folder of each seed's distilled set, checked against the manifest.

    Raises:
      ManifestError: when one is missing, or its bytes are others.
    """
    recorded = {one["seed"]: one for one in entry.sets}
    sources = {}
    for seed in entry.seeds:
        folder = root / recorded[seed]["folder"] if seed in recorded else None
        if folder is None or not (folder / distilled.ARRAYS).exists():
            raise ManifestError(
                f"the distilled set of {entry.method} seed {seed} is not in the repository: "
                "reproduce it without --rescore"
            )
        found = files.sha256(folder / distilled.ARRAYS)
        if found != recorded[seed]["sha256"]:
            raise ManifestError(
                f"{folder / distilled.ARRAYS} has SHA-256 {found}, the manifest "
                f"{recorded[seed]['sha256']}: get the file again from the repository"
            )
        sources[seed] = folder
    return sources


def _place(source: Path, target: Path, config: Any) -> None:
    """Puts a distilled set where the stage `evaluate` looks for it.

    Fields of the configuration that are younger than the set get the values that they have now; so
    do its steps, where a budget of seconds said how many they were.
    """
    stored, card = distilled.load(source)
    then, now = card["config"], config.to_dict()
    filled = {
        name: value | then.get(name, {}) if isinstance(value, dict) else then.get(name, value)
        for name, value in now.items()
    }
    filled["distill"] |= {name: now["distill"][name] for name in ("seconds", "steps")}
    distilled.save(target, stored, card | {"config": filled})


def _verdict(entry: Entry, row: dict[str, Any]) -> tuple[bool, list[str]]:
    low, high = entry.interval
    passed = bool(low <= row["last"] <= high)
    return passed, [
        f"{'PASS' if passed else 'FAIL'}: {statistics.last_text(row)} over {row['networks']} "
        f"networks, expected {entry.mean:.1f} ± {entry.sd:.1f}, a mean from {low:.2f} to {high:.2f}"
    ]


def _bytes_line(entry: Entry, pairs: list[tuple[str, int]], folders: list[Path]) -> str:
    """Whether the distilled sets are the same bytes, which they need not be."""
    recorded = {one["seed"]: one["sha256"] for one in entry.sets}
    same = [
        files.sha256(folder / distilled.ARRAYS) == recorded.get(seed)
        for (_, seed), folder in zip(pairs, folders, strict=True)
    ]
    if not recorded:
        return "  the bytes of the distilled sets were not recorded"
    return (
        f"  {sum(same)} of {len(same)} distilled sets are the recorded bytes (all are, on the same "
        f"machine with {', '.join(f'{n} {v}' for n, v in entry.versions.items())})"
    )


def record(folder: Path, *, name: str, config: str, manifest: Path) -> list[str]:
    """Writes the entries of a folder of results into the manifest, in place of its earlier ones.

    Labels of entries that exist stay; a new one's is its method.

    Args:
      folder: beside the manifest or below; holds the runs' folders with their cards.
      name: of the group; the entries are `name/method`.
      config: file and argument, from which overrides are counted.
      manifest: made when missing.

    Returns:
      The names of the entries.

    Raises:
      FileNotFoundError: when there is no card.
      ManifestError: when entries would have one name, or a single network.
    """
    root, folder = manifest.parent.resolve(), folder.resolve()
    if not folder.is_relative_to(root):
        raise ManifestError(f"{folder} must lie in {root}: copy there what is to be kept")
    runs = [path.parent for path in sorted(folder.rglob(distilled.CARD))]
    rows = table.gather(runs, configuration.OF_THE_RUN)
    if not rows:
        raise FileNotFoundError(f"{folder} holds no card with an evaluation")
    before = read(manifest) if manifest.exists() else {}
    made: dict[str, Entry] = {}
    several = len({row["network"] for row in rows}) > 1
    for row in rows:
        key = f"{name}/{row['method']}" + (f"-{row['network']}" if several else "")
        if key in made:
            raise ManifestError(
                f"{folder} holds two settings of {key}: record them as groups of their own"
            )
        label = before[key].label if key in before else row["method"]
        made[key] = _entry(row, label, config, runs, root)
    kept = {key: entry for key, entry in before.items() if not key.startswith(f"{name}/")}
    everything = {key: dataclasses.asdict(entry) for key, entry in sorted((kept | made).items())}
    files.write_json(manifest, everything)
    return list(made)


def _entry(row: dict[str, Any], label: str, config: str, runs: list[Path], root: Path) -> Entry:
    """The entry of a result row."""
    cards = {run: files.read_sealed_json(run / distilled.CARD) for run in runs}
    own = {run: card for run, card in cards.items() if card["method"] == row["method"]}
    card = next(iter(own.values()))
    if row["last_std"] is None:
        raise ManifestError(f"{label}: an interval takes two networks or more, this is one")
    return Entry(
        label=label,
        config=config,
        overrides=_overrides(card, _shipped(config)),
        method=row["method"],
        network=row["network"],
        seeds=row["seeds"],
        networks=row["networks"],
        mean=row["last"],
        sd=row["last_std"],
        best=row["best"],
        interval=repetition_interval(row["last"], row["last_std"], row["networks"]),
        data={
            field: card["data"][field]
            for field in ("sha256", "images_sha256")
            if field in card["data"]
        },
        sets=[
            {
                "seed": card["seed"],
                "folder": run.relative_to(root).as_posix(),
                "sha256": card[distilled.DIGEST],
            }
            for run, card in sorted(own.items(), key=lambda pair: pair[1]["seed"])
            if distilled.DIGEST in card
        ],
        versions=card["versions"],
        device=card["device"],
    )


def _overrides(card: dict[str, Any], base: Any) -> dict[str, Any]:
    """The fields of a card's configuration that differ from a file's.

    A budget of seconds is given as the steps that it was: elsewhere it would be others.
    """
    plain = json.loads(json.dumps(configuration.flatten(base)))
    made_with = configuration.flatten(card["config"])
    if (steps := card.get("settled", {}).get("distill.steps")) is not None:
        if card["config"]["recipe"] == "published":
            raise ManifestError(
                "a budget of seconds with recipe=published cannot be recorded: its steps would be "
                "the published ones; record recipe=ours, or a run without distill.seconds"
            )
        made_with |= {"distill.seconds": 0.0, "distill.steps": steps}
    return {
        name: value
        for name, value in sorted(made_with.items())
        if name not in configuration.OF_THE_RUN and plain.get(name) != value
    }


def listing(entries: dict[str, Entry]) -> str:
    """A line for each entry."""
    width = max((len(name) for name in entries), default=0)
    return "\n".join(
        f"{name:{width}}  {entry.mean:.1f} ± {entry.sd:.1f}  ({entry.label}; {entry.config}, "
        f"{len(entry.seeds)} x {entry.networks // len(entry.seeds)})"
        for name, entry in entries.items()
    )


def code_digest() -> str:
    """Of the package's source: what other code has made is not taken up as made again."""
    digest = hashlib.sha256()
    for path in sorted(shipped.PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
