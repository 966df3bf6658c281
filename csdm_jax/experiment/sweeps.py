"""Sweeps: a grid of values as runs of the main command, and one table and plot of them all.

`csdm_jax.sweep` is the command. A sweep is text, its axes parted by spaces:

    config.sdd.scale=0.3,1,3 config.alpha.head:config.alpha.tail=0.9:0.1,0.5:0.5

Fields joined by ':' move together. Tuples stand in parentheses, strings need no quotes. The points
are all combinations, the last axis fastest; each has a folder named by its values.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import hashlib
import itertools
import shlex
import sys
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.evaluation import evaluate
from csdm_jax.evaluation.statistics import GROUPS, last_text
from csdm_jax.experiment import claims, experiment, stages
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment.config import ConfigError
from csdm_jax.reporting import figures, page, palette
from csdm_jax.reporting import table as result_table
from csdm_jax.runtime import paths
from csdm_jax.runtime.jobs import Job
from csdm_jax.sets import distilled, tracks
from csdm_jax.storage import files

MANAGED = ("name", "extractors.pool_dir")
"""Fields that a sweep sets itself: they say where runs write, and no result depends on them."""
LOG = "run.log"
LONGEST_NAME = 200


@dataclasses.dataclass(frozen=True)
class Axis:
    """Fields that move together, and their values, one of each field in every row."""

    fields: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclasses.dataclass(frozen=True)
class Run:
    """One point of the grid.

    Attributes:
      point: value of each swept field.
      config: the configuration with these values.
      workdir: the run's folder.
    """

    point: dict[str, Any]
    config: Any
    workdir: Path

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """Its methods and distillation seeds."""
        return experiment.runs_of(self.config)

    @property
    def folders(self) -> list[Path]:
        """Where it writes its distilled sets, one for each pair."""
        return [experiment.run_folder(self.config, self.workdir, *pair) for pair in self.pairs]


def parse(text: str) -> list[Axis]:
    """Reads a sweep.

    Raises:
      ConfigError: for bad syntax, an unknown field, or a value that breaks its field's rule.
    """
    axes = [_axis(item) for item in split(" ".join(text.split()), " ") if item]
    if not axes:
        raise ConfigError("the sweep is empty: give it as config.FIELD=VALUE,VALUE,...")
    counts = collections.Counter(field for axis in axes for field in axis.fields)
    if twice := [field for field, count in counts.items() if count > 1]:
        raise ConfigError(f"the sweep names config.{twice[0]} twice: name each field once")
    return axes


def _axis(item: str) -> Axis:
    names, _, values = item.partition("=")
    if not values:
        raise ConfigError(f"sweep {item!r}: it must be config.FIELD=VALUE,VALUE,...")
    fields = tuple(name.removeprefix("config.") for name in names.split(":"))
    for field in fields:
        configuration.rule_of(field)
        if field in MANAGED:
            raise ConfigError(
                f"sweep {item!r}: config.{field} is set by the sweep itself: leave it out"
            )
    rows = tuple(_row(fields, part) for part in split(values, ","))
    if twice := [row for number, row in enumerate(rows) if row in rows[:number]]:
        raise ConfigError(f"sweep {item!r}: the value {shown(twice[0])} is there twice")
    return Axis(fields, rows)


def _row(fields: tuple[str, ...], text: str) -> tuple[Any, ...]:
    parts = split(text, ":") if len(fields) > 1 else [text]
    if len(parts) != len(fields):
        raise ConfigError(
            f"sweep of {':'.join(fields)}: {text!r} must be {len(fields)} values joined by ':'"
        )
    return tuple(map(_value, fields, parts))


def _value(field: str, text: str) -> Any:
    """The value that a text means for a field, by the type of the field's default."""
    default, _ = configuration.schema()[field]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text  # a string without quotes
    if isinstance(default, str) and not isinstance(value, str):
        value = text
    elif isinstance(default, float) and type(value) is int:
        value = float(value)
    elif isinstance(default, tuple) and not isinstance(value, tuple):
        value = (value,)
    configuration.check_field(field, value)
    return value


def split(text: str, separator: str) -> list[str]:
    """Splits at a character, where it stands outside brackets and quotes.

    Raises:
      ConfigError: for brackets or quotes that do not close.
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        if character == separator and not depth and not quote:
            parts.append("")
            continue
        parts[-1] += character
        if quote or character in "'\"":
            quote = "" if quote == character else quote or character
        else:
            depth += (character in "([") - (character in ")]")
        if depth < 0:
            break
    if depth or quote:
        raise ConfigError(f"sweep {text!r}: its brackets and quotes must open and close in pairs")
    return parts


def points(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """All combinations of the axes' rows, as `{field: value}`, the last axis fastest."""
    fields = [field for axis in axes for field in axis.fields]
    grid = itertools.product(*(axis.rows for axis in axes))
    return [dict(zip(fields, itertools.chain(*rows), strict=True)) for rows in grid]


def plan(base: Any, axes: Sequence[Axis], out: Path) -> list[Run]:
    """The runs of a sweep, every configuration checked.

    Args:
      base: configuration that the points change; what it says of `MANAGED` fields stays.
      axes: see `parse`.
      out: folder of the sweep; the runs share the pools in it unless `base` names others.

    Raises:
      ConfigError: for a point that breaks a rule, or whose folder another configuration began.
    """
    runs = []
    for point in points(axes):
        config = base.copy_and_resolve_references()
        config.update_from_flattened_dict(point)
        config.extractors.pool_dir = config.extractors.pool_dir or str(out / "pool")
        configuration.validate(config)
        named = configuration.rates(config).keys() & {config.method, *config.baselines}
        if "distill.learning_rate" in point and named:
            raise ConfigError(
                f"config.distill.learning_rate is swept, and config.rates gives {min(named)} one "
                "of its own: leave one of the two out"
            )
        runs.append(Run(point, config, out / name_of(point)))
        try:
            claims.check(config, runs[-1].workdir)
        except files.DamagedError:
            continue  # the run itself sets it aside
    return runs


def shown(value: Any) -> str:
    """A value as text for people: `0.3`, `1`, `convnet+resnet18`."""
    if isinstance(value, tuple):
        return "+".join(map(shown, value)) or "none"
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def short(fields: Iterable[str]) -> dict[str, str]:
    """Each field's last part, or the whole where two fields end alike."""
    fields = list(fields)
    ends = collections.Counter(field.rpartition(".")[2] for field in fields)
    return {field: end if ends[end := field.rpartition(".")[2]] == 1 else field for field in fields}


def name_of(point: dict[str, Any]) -> str:
    """The folder name of a point, another one for each: `scale=0.3,head=0.5`."""
    labels = short(point)
    text = ",".join(f"{labels[field]}={shown(value)}" for field, value in point.items())
    name = urllib.parse.quote(text, safe="=,+ ")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def is_finished(run: Run) -> bool:
    """Whether all of a run's cards hold the evaluation that its configuration asks for."""
    reported = (run.workdir / page.FILE).exists()  # what a run writes last
    return reported and all(_is_scored(folder, run.config) for folder in run.folders)


def _folder(text: str) -> Path | None:
    return paths.given(text) if text else None


def _is_scored(folder: Path, config: Any) -> bool:
    try:
        card = files.read_sealed_json(folder / distilled.CARD)
    except (FileNotFoundError, files.DamagedError):
        return False
    soft = tracks.soft(folder) if config.evaluate.soft_labels else folder
    return (
        soft is not None
        and _is_evaluated(soft, config)
        and _is_evaluated(folder, config)
        and _folder(card["config"]["data"]["data_dir"]) == _folder(config.data.data_dir)
        and not stages.changed_fields(card, configuration.of_method(config, card["method"]))
        and card["config"]["distill"]["steps"] == config.distill.steps
    )


def _is_evaluated(folder: Path, config: Any) -> bool:
    """Whether the set of a folder, with labels of its own or soft ones, has all accuracies."""
    card = files.read_sealed_json(folder / distilled.CARD)
    scored = card.get("accuracies", {})
    return (
        (folder / distilled.ARRAYS).exists()
        and card.get(stages.EVALUATION) == evaluate.FORMAT
        and all(len(scored.get(n, ())) == config.evaluate.count for n in config.evaluate.networks)
    )


def job(run: Run, flags: Sequence[str]) -> Job:
    """The main command of a run; `flags` are those of all runs, the configuration file's first."""
    fields = run.point | {"extractors.pool_dir": run.config.extractors.pool_dir}
    values = (f"--config.{field}={value}" for field, value in fields.items())
    command = (sys.executable, "-m", "csdm_jax.main", *flags, *values, f"--workdir={run.workdir}")
    return Job(run.workdir.name, command, run.workdir / LOG)


def slurm_script(jobs: Sequence[Job], *, at_once: int) -> str:
    """A job array for `sbatch`: a task for each job, `at_once` at a time.

    A task that nears its time limit is told to save, and the sweep's command, given again, makes
    a file of those that are not finished.
    """
    cases = [
        f"  {number}) log={shlex.quote(str(one.log))}; command=({shlex.join(one.command)}) ;;"
        for number, one in enumerate(jobs)
    ]
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            f"# A sweep of {len(jobs)} runs, a process and a GPU each: edit what differs here.",
            "#SBATCH --job-name=csdm-sweep",
            f"#SBATCH --array=0-{len(jobs) - 1}%{at_once}",
            "#SBATCH --ntasks=1",
            "#SBATCH --gpus-per-task=1",
            "#SBATCH --cpus-per-task=8",
            "#SBATCH --time=12:00:00",
            "#SBATCH --signal=TERM@120",
            "#SBATCH --output=/dev/null",
            "set -euo pipefail",
            f"cd {shlex.quote(str(Path.cwd()))}",
            'case "$SLURM_ARRAY_TASK_ID" in',
            *cases,
            "esac",
            'mkdir -p "$(dirname "$log")"',
            'exec srun "${command[@]}" >> "$log" 2>&1',
            "",
        ]
    )


def gather(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Result rows of the finished runs, in the grid's order.

    Returns:
      The rows of `csdm_jax.reporting.table.gather`, each with its run's `folder` and `point`.
    """
    return [
        {"folder": run.workdir.name, "point": run.point} | row
        for run in runs
        if is_finished(run)
        for row in result_table.gather(run.folders, configuration.OF_THE_RUN)
    ]


def _extras(rows: list[dict[str, Any]]) -> list[str]:
    """What tells rows of one point apart: method and network, where they differ."""
    swept = {"method"} & set(rows[0]["point"])
    return [
        name
        for name in ("method", "network")
        if name not in swept and len({row[name] for row in rows}) > 1
    ]


def table(rows: list[dict[str, Any]], *, total: int) -> str:
    """The rows as Markdown.

    Args:
      rows: see `gather`; at least one.
      total: runs of the sweep, finished or not.
    """
    labels, extras = short(rows[0]["point"]), _extras(rows)
    columns = [*labels.values(), *extras, "runs", "last epoch", "95 % interval"]
    columns += ["best (optimistic)", *GROUPS]
    cells_of = []
    for row in rows:
        cells = [shown(value) for value in row["point"].values()]
        cells += [row[name] for name in extras]
        cells += [result_table.runs_text(row), last_text(row), _interval(row)]
        cells_of.append([*cells, f"{row['best']:.1f}", *result_table.group_cells(row["groups"])])
    finished = len({row["folder"] for row in rows})
    lines = [
        *dict.fromkeys(map(result_table.setting, rows)),
        "",
        *result_table.markdown(columns, cells_of),
    ]
    lines += [
        "",
        f"{finished} of {total} runs. Test accuracy in percent. last epoch: mean ± standard "
        "deviation over all networks of all distillation seeds (runs: seeds x networks); interval: "
        "Student-t over the same, taken as independent, though networks share the images of their "
        "distillation seed, cut at 0 and 100. best: selected on the test set, "
        "for comparison only. many / medium / few: classes by training count, in thirds.",
    ]
    return "\n".join(lines) + "\n"


def _interval(row: dict[str, Any]) -> str:
    found = row["last_interval"]
    return f"{found[0]:.1f} to {found[1]:.1f}" if found else "-"


def plot(rows: list[dict[str, Any]], axes: Sequence[Axis]) -> Any:
    """Accuracy against the first axis, with intervals: a line a combination of the others.

    Points that are not numbers in order, or are several fields, are not joined.

    Args:
      rows: see `gather`; at least one.
      axes: of the sweep.

    Returns:
      A Matplotlib figure.
    """
    first, rest = axes[0], [field for other in axes[1:] for field in other.fields]
    places, logarithmic = _places(first)
    ticks = ["\n".join(map(shown, row)) for row in places]
    longest = max(len(word) for tick in ticks for word in tick.split("\n"))
    joined, compared = _is_numeric(first), {row["method"] for row in rows}
    with figures.canvas(max(6.4, 1.2 + 0.1 * longest * len(ticks)), 4.2) as (figure, axis):
        lines = _lines(rows, rest, first)
        for number, (label, members) in enumerate(lines.items()):
            shift = 0.012 * (number - (len(lines) - 1) / 2)  # else intervals hide each other
            x = [_shifted(places, key, shift, logarithmic) for key, _ in members]
            y = np.array([row["last"] for _, row in members])
            ends = np.array([row["last_interval"] or [row["last"]] * 2 for _, row in members])
            look = _style(number, members, len(compared) > 1)
            axis.errorbar(
                x,
                y,
                yerr=np.abs(ends.T - y),
                color=look.colour,
                marker=look.marker,
                linestyle=look.dash if joined else "none",
                capsize=3,
                label=label or None,
            )
        if logarithmic:
            axis.set_xscale("log")
        axis.set_xticks(list(places.values()), ticks)
        axis.minorticks_off()
        axis.set(xlabel=", ".join(first.fields), ylabel="test accuracy, last epoch, %")
        axis.set_title(
            "mean and 95 % interval (within 0 and 100) over networks and seeds", fontsize="medium"
        )
        if any(lines):
            axis.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1))
        axis.grid(alpha=0.3)
    return figure


def _style(
    number: int, members: list[tuple[tuple, dict[str, Any]]], by_method: bool
) -> palette.Style:
    """Of the line with that number: the method's colour where methods are compared."""
    own = palette.numbered(number)
    (method, *others) = {row["method"] for _, row in members}
    if others or not by_method:
        return own
    return dataclasses.replace(palette.of_method(method), marker=own.marker)


def _is_numeric(axis: Axis) -> bool:
    """Whether the axis is one field whose values are numbers."""
    values = [row[0] for row in axis.rows]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return len(axis.fields) == 1 and numbers


def _places(axis: Axis) -> tuple[dict[tuple, float], bool]:
    """Where each row of the axis stands on the x axis, and whether that one is logarithmic."""
    if not _is_numeric(axis):
        return {row: float(number) for number, row in enumerate(axis.rows)}, False
    numbers = [row[0] for row in axis.rows]
    wide = min(numbers) > 0 and max(numbers) > 10 * min(numbers)
    return {row: float(row[0]) for row in sorted(axis.rows)}, wide


def _shifted(places: dict[tuple, float], key: tuple, shift: float, logarithmic: bool) -> float:
    """The place of a row, moved by a fraction of the axis."""
    low, high = min(places.values()), max(places.values())
    if logarithmic:
        return places[key] * (high / low) ** shift
    return places[key] + shift * (high - low or 1.0)


def _lines(
    rows: list[dict[str, Any]], fields: list[str], first: Axis
) -> dict[str, list[tuple[tuple, dict[str, Any]]]]:
    """The rows of each line, by its label, in the order of the first axis."""
    labels, extras = short(rows[0]["point"]), _extras(rows)
    lines: dict[str, list[tuple[tuple, dict[str, Any]]]] = {}
    for row in rows:
        words = [f"{labels[field]} {shown(row['point'][field])}" for field in fields]
        label = ", ".join([*words, *(row[name] for name in extras)])
        key = tuple(row["point"][field] for field in first.fields)
        lines.setdefault(label, []).append((key, row))
    order = list(_places(first)[0])
    return {
        name: sorted(found, key=lambda pair: order.index(pair[0])) for name, found in lines.items()
    }


def write(out: Path, runs: Sequence[Run], axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Writes `table.md`, `table.json`, `plot.png` and `plot.svg` of what is finished.

    Returns:
      The rows; nothing is written when there are none.
    """
    rows = gather(runs)
    if rows:
        files.write_json(out / "table.json", rows)
        files.write_bytes(out / "table.md", table(rows, total=len(runs)).encode())
        for kind in ("png", "svg"):
            files.write_bytes(out / f"plot.{kind}", figures.picture(plot(rows, axes), kind))
    return rows
