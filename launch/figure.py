"""A figure of a finished run, for a README: what each method distilled, and what networks learn.

    python launch/figure.py runs/digits_lt docs/images/digits.png

A row for each method, the worst first: images of the first distillation seed from the largest class
to the smallest, and the test accuracy of the first evaluation network with its 95 % interval
(Student's t over all networks of all distillation seeds, cut at 0 and 100).
"""

from __future__ import annotations

import argparse
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.data.class_names import spoken
from csdm_jax.data.longtail import head_to_tail
from csdm_jax.evaluation import statistics
from csdm_jax.experiment import command_line
from csdm_jax.reporting import figures, palette, table
from csdm_jax.runtime import paths
from csdm_jax.sets import distilled
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.storage import files

CLASSES, IMAGES = 10, 2
WIDTH, DPI = 1400, 200  # pixels; shown at half the width, text is 11 pixels high
SIDE = 80  # pixels of an image
LEFT, HEAD, FOOT, BETWEEN, PLOT = 160, 110, 90, 26, 330


@dataclasses.dataclass(frozen=True)
class Row:
    """A method.

    Attributes:
      method: its name.
      result: the set of its first seed.
      accuracies: of each network, in percent: of all classes and of the third of rarest ones.
    """

    method: str
    result: DistilledSet
    accuracies: dict[str, list[float]]


def read(workdir: Path) -> tuple[list[Row], dict[str, Any]]:
    """The methods of a run, the worst first, and the card of the last.

    Raises:
      FileNotFoundError: when nothing is distilled there.
      ValueError: for a run that is not evaluated.
    """
    found: dict[str, list[tuple[DistilledSet, dict[str, Any]]]] = {}
    for folder in table.run_folders(workdir):
        result, card = distilled.load(folder)
        if not card.get("accuracies"):
            raise ValueError(f"{folder} is not evaluated: run the stage 'evaluate' first")
        found.setdefault(card["method"], []).append((result, card))
    rows = []
    for method, runs in found.items():
        runs.sort(key=lambda one: one[1]["seed"])
        results = [one for _, card in runs for one in next(iter(card["accuracies"].values()))]
        counts = runs[0][1]["data"]["counts"]
        groups = [
            statistics.group_accuracies(np.array(one["by_class"], float), counts) for one in results
        ]
        accuracies = {
            "all classes": [one["last"] for one in results],
            "rarest third": [one["few"] for one in groups],
        }
        rows.append(Row(method, runs[0][0], accuracies))
    rows.sort(key=lambda row: np.mean(row.accuracies["all classes"]))
    return rows, found[rows[-1].method][0][1]


def draw(rows: list[Row], card: dict[str, Any]) -> bytes:
    """The figure as a PNG of `WIDTH` pixels, on a light ground of its own."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.transforms import IdentityTransform

    order = head_to_tail(card["data"]["counts"])
    order = order[figures.spaced(len(order), CLASSES)]
    sheets = [_sheet(row.result, order) for row in rows]
    each = sheets[0].shape[0] + BETWEEN
    high = HEAD + each * len(rows) - BETWEEN + FOOT
    with matplotlib.rc_context(figures.RC | {"font.size": 8.0}):
        figure = Figure(figsize=((WIDTH + 0.01) / DPI, (high + 0.01) / DPI), dpi=DPI)
        FigureCanvasAgg(figure)

        def text(x: float, y: float, what: str, **style: Any) -> None:
            figure.text(x, high - y, what, transform=IdentityTransform(), **style)

        column = (sheets[0].shape[1] + figures.GAP) / len(order)
        for number, label in enumerate(order):
            name = figures.shortened(spoken(card["class_names"][label]), 9)
            middle = LEFT + (number + 0.5) * column - figures.GAP / 2
            text(middle, 62, name, ha="center", va="center", weight="bold")
            text(middle, 90, f"{card['data']['counts'][label]}", ha="center", va="center")
        text(24, 62, "class", va="center")
        text(24, 90, "real images", va="center")
        which = "the largest class on the left, the smallest on the right"
        text(LEFT, 24, f"{card['ipc']} images a class, {which}", va="center")
        for number, (row, drawn) in enumerate(zip(rows, sheets, strict=True)):
            top = HEAD + number * each
            figure.figimage(drawn, LEFT, high - top - drawn.shape[0], origin="upper")
            colour = palette.of_method(row.method).colour
            text(24, top + drawn.shape[0] / 2, row.method, va="center", color=colour, weight="bold")
        bottom, tall = FOOT / high, (high - FOOT - HEAD + 20) / high
        axes = figure.add_axes(((WIDTH - PLOT) / WIDTH, bottom, (PLOT - 30) / WIDTH, tall))
        _compare(axes, rows)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()


def _sheet(result: DistilledSet, order: np.ndarray) -> np.ndarray:
    """A column for each class."""
    classes = [result.of_class(label)[:IMAGES] for label in order]
    stacked = np.stack(classes, axis=1)
    return figures.sheet(list(stacked), max(1, SIDE // max(stacked.shape[2:4])))


def _compare(axes: Any, rows: list[Row]) -> None:
    """Mean accuracies with their intervals, a row for each method."""
    for number, row in enumerate(rows):
        colour = palette.of_method(row.method).colour
        for shift, (name, values) in zip((-0.17, 0.17), row.accuracies.items(), strict=True):
            mean, half = statistics.interval(values)
            low, high = statistics.possible(mean, half) or (mean, mean)
            place, full = number + shift, name == "all classes"
            axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
            axes.plot(mean, place, "o", color=colour, markersize=5, markeredgewidth=1.2,
                      markerfacecolor=colour if full else "white",
                      label=name if number == len(rows) - 1 else None)  # fmt: skip
            axes.annotate(f"{mean:.1f}", (mean, place), (0, 5), textcoords="offset points",
                          ha="center", fontsize=7.5)  # fmt: skip
    axes.set(xlabel="test accuracy, %", yticks=[], ylim=(len(rows) - 0.5, -0.5))
    axes.spines["left"].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.14, 1.0), ncols=2, handletextpad=0.1,
                columnspacing=0.8, borderpad=0, fontsize=7.5)  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Draws the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=paths.given, help="working directory of a finished run")
    parser.add_argument("out", type=paths.given, help="the PNG file")
    options = parser.parse_args(argv)
    with command_line.reported():
        files.write_bytes(options.out, draw(*read(options.run)))


if __name__ == "__main__":
    main()
