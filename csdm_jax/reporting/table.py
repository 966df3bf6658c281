"""What a run ends with: the table, the distilled images, the curves, the page."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.data.longtail import LongTail, factor_text, own_factor
from csdm_jax.evaluation.statistics import (
    GROUPS,
    group_accuracies,
    interval,
    last_text,
    listed,
    mean_by_class,
    possible,
)
from csdm_jax.reporting import figures, page
from csdm_jax.runtime import interruption
from csdm_jax.runtime.fields import flatten
from csdm_jax.sets import distilled, tracks
from csdm_jax.storage import files

COLUMNS = ("method", "network", "runs", "last epoch", "best (optimistic)", *GROUPS)
LABELS = "labels"
"""One more column, where sets of one table have labels of different kinds."""


def describe_data(name: str, longtail: LongTail) -> str:
    """One line on the long-tailed set."""
    counts = longtail.counts
    return (
        f"{name}, {factor_text(longtail.own_factor, longtail.imbalance_factor)} "
        f"({longtail.rule} rule): "
        f"{sum(counts)} images, {max(counts)} in the largest class, {min(counts)} in the smallest"
    )


def run_folders(workdir: Path) -> list[Path]:
    """Folders of a working directory that hold a distilled set.

    Raises:
      FileNotFoundError: when there is none.
    """
    candidates = [*sorted(workdir.glob("runs/*")), workdir]
    folders = [folder for folder in candidates if (folder / "card.json").exists()]
    if not folders:
        raise FileNotFoundError(f"nothing distilled in {workdir}: run the stage 'distill' first")
    return folders


PUBLISHED_WIDTH = 128
"""`config.network.width` of every published table."""


def _settings(card: dict[str, Any], of_the_run: Collection[str]) -> str:
    """The configuration behind a row, and the steps that a budget of seconds was."""
    config = {n: value for n, value in flatten(card["config"]).items() if n not in of_the_run}
    return json.dumps([config, card.get("settled", {}).get("distill.steps")], sort_keys=True)


def _teacher(card: dict[str, Any]) -> str | None:
    """What made the soft labels behind a row; None for labels of a method's own."""
    facts = card.get(tracks.SOFT)
    return facts and json.dumps([facts[n] for n in ("teacher", "temperature", "correction")])


def gather(folders: list[Path], of_the_run: Collection[str]) -> list[dict[str, Any]]:
    """Result rows over evaluated runs, one per setting, labels, method and network, worst first.

    Mean and standard deviation (of the sample, n - 1) are over evaluation networks and
    distillation seeds together.

    Args:
      folders: where the runs wrote their cards; `tracks.with_soft` adds those of soft labels.
      of_the_run: fields of the configuration, "section.field", that may differ within a row.

    Returns:
      A list of dicts with the setting, `last`, `best`, `by_class` (means), `last_std`,
      `last_interval` (see `interval`) and the groups' means; accuracies in percent.
    """
    grouped: dict[tuple, list[tuple[dict, dict]]] = {}
    for folder in folders:
        card = files.read_sealed_json(folder / distilled.CARD)
        for network, results in card.get("accuracies", {}).items():
            key = (_settings(card, of_the_run), card["method"], network, _teacher(card))
            runs = grouped.setdefault(key, [])
            runs.extend((card, result) for result in results)
    rows = [_row(key, runs) for key, runs in grouped.items()]
    return sorted(rows, key=lambda row: row["last"])


def _row(key: tuple, rows: list[tuple[dict, dict]]) -> dict[str, Any]:
    card = rows[0][0]
    last = np.array([result["last"] for _, result in rows])
    by_class = mean_by_class([result["by_class"] for _, result in rows])
    return {
        "data": {name: value for name, value in card["data"].items() if name != "counts"}
        | {"own_imbalance_factor": own_factor(card["data"]["counts"])},
        "ipc": card["ipc"],
        "evaluated_on": card["config"]["evaluate"]["on"],
        "recipe": card["config"].get("recipe", "ours"),
        "width": card["config"].get("network", {}).get("width", PUBLISHED_WIDTH),
        "method": key[1],
        "labels": tracks.described(card),
        "track": "soft" if tracks.SOFT in card else "own",
        "network": key[2],
        "seeds": sorted({card["seed"] for card, _ in rows}),
        "networks": len(rows),
        "last": round(float(last.mean()), 2),
        "last_std": round(float(last.std(ddof=1)), 2) if len(last) > 1 else None,
        "last_interval": _interval(last),
        "best": round(float(np.mean([result["best"] for _, result in rows])), 2),
        "by_class": listed(by_class),
        "groups": {
            name: round(value, 2)
            for name, value in group_accuracies(by_class, card["data"]["counts"]).items()
        },
    }


def tables(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as text, one table per setting: `setting`, `header` and `rows` of cells.

    Where all sets of a table have labels of one kind, none needs to say so.
    """
    found = []
    for title in dict.fromkeys(map(setting, rows)):
        alike = [row for row in rows if setting(row) == title]
        told = len({row["labels"] for row in alike}) > 1
        method, *columns = COLUMNS
        header = [method, LABELS, *columns] if told else list(COLUMNS)
        cells = [_cells(row, told) for row in alike]
        found.append({"setting": title, "header": header, "rows": cells})
    return found


def _interval(values: np.ndarray) -> list[float] | None:
    """95 % interval `[low, high]` of the mean, to a hundredth; None for a single value.

    The values count as independent, though networks of one distillation seed share its images. It
    is cut at 0 and 100.
    """
    ends = possible(*interval(values))
    return None if ends is None else [round(end, 2) for end in ends]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, one table per setting."""
    lines: list[str] = []
    for one in (found := tables(rows)):
        lines += ["", one["setting"], "", *markdown(one["header"], one["rows"])]
    lines += [
        "",
        "Test accuracy in percent. last epoch: mean ± standard deviation over all networks of all "
        "distillation seeds. best: selected on the test set, for comparison only. "
        "many / medium / few: classes by training count, in thirds.",
    ]
    if any(LABELS in one["header"] for one in found):
        lines += ["", tracks.NOTE]
    return "\n".join(lines).strip() + "\n"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    # A class name may hold the sign between cells.
    safe = ([cell.replace("|", r"\|") for cell in cells] for cells in (columns, *rows))
    joined = ["| " + " | ".join(cells) + " |" for cells in safe]
    return [joined[0], "|---" * len(columns) + "|", *joined[1:]]


def setting(row: dict[str, Any]) -> str:
    """What all rows of one table share."""
    tuning = ", on TUNING images, not the test set" if row["evaluated_on"] == "tuning" else ""
    data = row["data"]
    factor = factor_text(data["own_imbalance_factor"], data["imbalance_factor"])
    seed = "" if data["seed"] is None else f", seed {data['seed']}"
    recipe = ", each method by its published recipe" if row["recipe"] == "published" else ""
    return (
        f"{data['name']}, {factor}, IPC {row['ipc']}{width_text(row['width'])}{recipe}{tuning} "
        f"({data['rule']} rule{seed}, indices {data['sha256'][:12]})"
    )


def width_text(width: int) -> str:
    """Part of a heading: the width of the networks, where it is not the published one."""
    return (
        ""
        if width == PUBLISHED_WIDTH
        else f", networks of width {width} (published: {PUBLISHED_WIDTH})"
    )


def runs_text(row: dict[str, Any]) -> str:
    """Distillation seeds x networks of each."""
    return f"{len(row['seeds'])} x {row['networks'] // len(row['seeds'])}"


def _cells(row: dict[str, Any], told: bool) -> list[str]:
    """A line of the table; `told`: whether it says what the labels are."""
    groups = group_cells(row["groups"])
    return [
        row["method"],
        *([row["labels"]] if told else []),
        row["network"],
        runs_text(row),
        last_text(row),
        f"{row['best']:.1f}",
        *groups,
    ]


def group_cells(groups: dict[str, float]) -> list[str]:
    """Many, medium and few as cells; a dash for a group without classes."""
    return [f"{groups[name]:.1f}" if name in groups else "-" for name in GROUPS]


def write(
    workdir: Path,
    folders: list[Path],
    of_the_run: Collection[str],
    real: dict[int, np.ndarray] | None = None,
    comparison: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Draws every run's images and curves, writes the table and the page, prints the table.

    And of the page's run the images along the steps, `steps.gif`.

    Args:
      workdir: where table and page are written.
      folders: where the runs of this experiment write; those not distilled yet are left out.
      of_the_run: see `gather`.
      real: real images of some classes for the page, uint8 `[n, H, W, ch]`.
      comparison: see `page.render`.

    Raises:
      FileNotFoundError: when nothing has been distilled in `workdir`.
      Interrupted: when a signal asked for the end; the next call draws what is missing.
    """
    # The page is about its last run: the one in the working directory, when it is there already.
    folders = sorted((f for f in folders if (f / distilled.CARD).exists()), key=workdir.__eq__)
    if not folders:
        raise FileNotFoundError(f"nothing distilled in {workdir}: run the stage 'distill' first")
    runs = [page.read(folder) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        interruption.check("before the figures of a run")
        files.write_bytes(folder / "images.png", figures.draw_images(run.result, run.card))
        files.write_bytes(folder / "curves.png", figures.draw_curves(run.history, run.card))
    if looks := runs[-1].looks:
        files.write_bytes(workdir / "steps.gif", figures.draw_steps(looks, runs[-1].card))
    interruption.check("before the page")
    rows = gather(tracks.with_soft(folders), of_the_run)
    if rows:
        files.write_json(workdir / "table.json", rows)
        files.write_bytes(workdir / "table.md", table(rows).encode())
    text = page.render(runs, rows=rows, tables=tables(rows), real=real, comparison=comparison)
    interruption.check("while the page was drawn")
    files.write_bytes(workdir / page.FILE, text.encode())
    if rows:
        print(table(rows))
    print(f"distilled set, card, images, curves and {page.FILE}: {workdir}")
    return rows
