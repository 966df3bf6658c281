"""What a comparison of methods ends with: accuracies and costs, and every pair's difference.

Intervals and p are Student's over distillation seeds, whose networks share their images. Where
several pairs are compared, p is corrected for their number by Holm's rule.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from csdm_jax import parameterisations
from csdm_jax.evaluation import pairs, statistics
from csdm_jax.evaluation.statistics import GROUPS
from csdm_jax.reporting import figures
from csdm_jax.reporting.table import markdown, run_folders
from csdm_jax.sets import distilled
from csdm_jax.storage import files

NAME = "compare"
"""Stem of the files that `write` leaves."""
BEST_FIRST = (
    "method",
    "labels",
    "seeds x networks",
    "last epoch",
    "95 % interval",
    *GROUPS,
    "soft labels",
)
COSTS = (
    "rate",
    "steps",
    "s a step",
    "distillation and evaluation, s",
    "peak memory, MiB",
    "stored, kB",
)
PAIRS = ("first", "second", "second - first", "95 % interval", "p", "p, corrected")
NOTE = (
    "Test accuracy of the last epoch in percent; soft labels: of the same images with class "
    "probabilities by the mean of the extractors. Intervals and p: Student's over distillation "
    "seeds, p corrected for the number of pairs by Holm's rule. Seconds are of this machine, the "
    "extractors' training not among them. Peak memory is the program's up to the end of the "
    "method's distillation; methods that ran after a larger one in one program show its. rate: "
    "distill.learning_rate."
)
FEW = (
    " With two seeds a difference that happens to be the same in both has a p near 0: among many "
    "pairs such a p is to be expected, and is weak evidence."
)
CAPTION = "Test accuracy after the last epoch; lines: 95 % interval over distillation seeds."


def compared(workdir: Path, methods: Sequence[str]) -> dict[str, Any]:
    """The numbers of a comparison.

    Args:
      workdir: where the methods have run, under one configuration.
      methods: those to compare, at least one.

    Returns:
      "methods": for each, best first, accuracy in percent with its interval by seed, groups of
      classes, rate, seconds, bytes, and "soft", where its images were given soft labels by the
      shared teacher, accuracy and interval with these; "pairs": for each two, second - first, with
      interval, p and corrected p.

    Raises:
      ValueError: for a method that has no evaluated run there.
    """
    accuracies = {name: pairs.networks(workdir, name) for name in methods}
    rows = [
        _row(workdir, name, accuracies[name]) | {"soft": _soft(workdir, name)} for name in methods
    ]
    found = []
    for first, second in itertools.combinations(methods, 2):
        for one in pairs.differences(accuracies[first], accuracies[second]):
            if one.group == "all":
                found.append(_pair(first, second, one))
    for pair, p in zip(found, holm([pair["p"] for pair in found]), strict=True):
        pair["p_corrected"] = p
    return {"methods": sorted(rows, key=lambda row: -row["last"]), "pairs": found}


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of p for the number of tests; None stays and counts as none.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, at) for at, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, at) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[at] = largest
    return corrected


def text(found: dict[str, Any]) -> str:
    """The numbers as Markdown: accuracies, costs, pairs."""
    lines: list[str] = []
    for one in _tables(found).values():
        if one["rows"]:
            lines += [*markdown(one["header"], one["rows"]), ""]
    return "\n".join([*lines, _note(found)]) + "\n"


def section(found: dict[str, Any]) -> dict[str, Any]:
    """The numbers for the page: its three tables, the chart with its caption, and a note."""
    drawn = figures.ranking("ranking", *_ranked(found))
    return _tables(found) | {"figure": (Markup(drawn), CAPTION), "note": _note(found)}


def _note(found: dict[str, Any]) -> str:
    few = found["pairs"] and any(row["seeds"] == 2 for row in found["methods"])
    return NOTE + (FEW if few else "")


def _tables(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Accuracies, costs and pairs as `header` and `rows` of cells."""
    rows = found["methods"]
    return {
        "accuracies": {"header": BEST_FIRST, "rows": [_accuracy_cells(row) for row in rows]},
        "costs": {"header": ("method", *COSTS), "rows": [_cost_cells(row) for row in rows]},
        "pairs": {"header": PAIRS, "rows": [_pair_cells(pair) for pair in found["pairs"]]},
    }


def _ranked(found: dict[str, Any]) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
    """Accuracy of each method, best first, and the intervals of those that have one."""
    rows = found["methods"]
    values = {row["method"]: row["last"] for row in rows}
    return values, {row["method"]: row["interval"] for row in rows if row["interval"]}


def chart(found: dict[str, Any]) -> bytes:
    """Accuracy of each method with its interval, best on top, as a PNG."""
    values, intervals = _ranked(found)
    with figures.canvas(7.0, figures.ranking_height(values), layout="constrained") as drawn:
        figure, axes = drawn
        figures.ranked(axes, values, intervals)
        axes.set_title(CAPTION, fontsize="small", loc="left")
        return figures.picture(figure)


def write(workdir: Path, methods: Sequence[str]) -> dict[str, Any]:
    """Leaves `compare.json`, `compare.md` and `compare.png` in a working directory.

    Args and errors as those of `compared`, whose numbers come back.
    """
    found = compared(workdir, methods)
    files.write_json(workdir / f"{NAME}.json", found)
    files.write_bytes(workdir / f"{NAME}.md", text(found).encode())
    files.write_bytes(workdir / f"{NAME}.png", chart(found))
    return found


def renewed(workdir: Path, methods: Sequence[str]) -> dict[str, Any] | None:
    """As `write`, for those of the methods that an earlier call compared; None without one."""
    try:
        before = json.loads((workdir / f"{NAME}.json").read_bytes())
        names = {row["method"] for row in before["methods"]}
    except (FileNotFoundError, KeyError, TypeError, ValueError):  # no result: it is made again
        return None
    again = [name for name in methods if name in names]
    return write(workdir, again) if again else None


def _row(workdir: Path, method: str, networks: pairs.Networks) -> dict[str, Any]:
    folders = [
        folder
        for folder in run_folders(workdir)
        if files.read_sealed_json(folder / distilled.CARD)["method"] == method
    ]
    groups = {
        name: round(float(np.mean([one[name] for one in networks.values()])), 2) for name in GROUPS
    }
    return {
        "method": method,
        **_accuracy(networks),
        "groups": groups,
        "seeds": len({seed for seed, _, _ in networks}),
        "networks": len(networks),
        **_costs(folders),
    }


def _accuracy(networks: pairs.Networks) -> dict[str, Any]:
    """Mean and interval, over distillation seeds."""
    by_seed: dict[int, list[float]] = {}
    for (seed, _, _), one in networks.items():
        by_seed.setdefault(seed, []).append(one["all"])
    means = [np.mean(values) for values in by_seed.values()]
    ends = statistics.possible(*statistics.interval(means))
    return {
        "last": round(float(np.mean(means)), 2),
        "interval": None if ends is None else [round(end, 2) for end in ends],
    }


def _soft(workdir: Path, method: str) -> dict[str, Any] | None:
    """Accuracy with the shared teacher's labels; None where the images have none."""
    try:
        return _accuracy(pairs.networks(workdir, method, soft=True))
    except files.DamagedError:
        raise
    except ValueError:
        return None


def _costs(folders: Sequence[Path]) -> dict[str, Any]:
    """Kind of labels, seconds, and bytes; means over the runs of a method."""
    result, card = distilled.load(folders[0])
    timings = [_timings(folder) for folder in folders]
    spent = [one.get("distillation", 0.0) for one in timings]
    asked = card["config"]["distill"]["steps"]
    steps = card.get("settled", {}).get("distill.steps", asked) if spent and max(spent) else 0
    peaks = [one.get("peak_memory_bytes", {}).get("distillation", 0) for one in timings]
    stored = parameterisations.size(result.stored)
    stored += result.labels.size * 4 if result.soft else 0
    return {
        "labels": result.label_kind,
        "rate": card["config"]["distill"].get("learning_rate") if steps else None,
        "steps": steps,
        "seconds_a_step": float(np.mean(spent)) / steps if steps else None,
        "seconds": round(float(np.mean([_seconds(one) for one in timings])), 1),
        "peak_bytes": int(max(peaks)),
        "stored_bytes": int(stored),
    }


def _seconds(timings: dict[str, Any]) -> float:
    return timings.get("distillation", 0.0) + timings.get("evaluation", 0.0)


def _timings(folder: Path) -> dict[str, Any]:
    try:
        return files.read_sealed_json(folder / "timings.json")
    except (FileNotFoundError, files.DamagedError):
        return {}


def _pair(first: str, second: str, one: pairs.Difference) -> dict[str, Any]:
    mean, half = one.interval()
    return {
        "first": first,
        "second": second,
        "difference": round(mean, 2),
        "interval": None if half is None else [round(mean - half, 2), round(mean + half, 2)],
        "p": one.p_value,
    }


def _accuracy_cells(row: dict[str, Any]) -> list[str]:
    soft = row["soft"]
    runs = f"{row['seeds']} x {row['networks'] // row['seeds']}"
    groups = [f"{row['groups'][name]:.1f}" for name in GROUPS]
    ends = _ends(row["interval"])
    cells = [row["method"], row["labels"], runs, f"{row['last']:.1f}", ends, *groups]
    return [*cells, f"{soft['last']:.1f} ({_ends(soft['interval'])})" if soft else "-"]


def _ends(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else "{:.1f} to {:.1f}".format(*interval)


def _cost_cells(row: dict[str, Any]) -> list[str]:
    step = row["seconds_a_step"]
    return [
        row["method"],
        "-" if row["rate"] is None else f"{row['rate']:g}",
        str(row["steps"] or "-"),
        "-" if step is None else f"{step:.3g}",
        f"{row['seconds']:.1f}",
        f"{row['peak_bytes'] / 2**20:.0f}",
        f"{row['stored_bytes'] / 1000:.1f}",
    ]


def _pair_cells(pair: dict[str, Any]) -> list[str]:
    ends = (
        "one seed" if pair["interval"] is None else "{:+.1f} to {:+.1f}".format(*pair["interval"])
    )
    chances = ["-" if p is None else f"{p:.2g}" for p in (pair["p"], pair["p_corrected"])]
    return [pair["first"], pair["second"], f"{pair['difference']:+.1f}", ends, *chances]
