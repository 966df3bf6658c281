"""Draws `docs/images/prediction.png` from what `prediction.py` wrote.

`python benchmarks/prediction_figure.py results/benchmarks/prediction-digits.json
results/benchmarks/prediction-cifar10.json docs/images/prediction.png`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from csdm_jax.reporting import palette

SHOWN = [
    ("linear", ""),
    ("linear, root", ""),
    ("polynomial", ""),
    ("energy", ""),
    ("M3D", ""),
    ("sliced Wasserstein", ""),
    *(("RBF", scale) for scale in ("1", "3", "10", "median", "2 median")),
    *(("SDD", scale) for scale in ("1", "10", "median", "2 median")),
    ("SDD, iid", "2 median"),
    ("SDD, 0.1", "2 median"),
    *(("CFD", scale) for scale in ("1", "median")),
    ("phase", "2 median"),
    ("amplitude", "2 median"),
]
LABELS = [" ".join(name).strip().replace("2 median", "2 x median") for name in SHOWN]
KINDS = {
    "random": palette.Style(palette.GREY, "P"),
    "interpolated": palette.Style(palette.BLUE, "D"),
    "trained": palette.Style(palette.VERMILLION, "o"),
}
ADJUSTED = {"digits": False, "cifar10": True}
"""Whether the configuration's extractors are trained with logit adjustment."""
TITLES = {"digits": "digits", "cifar10": "CIFAR-10-LT, cpu preset"}
SUBSETS = {"all": "all subsets", "clean": "random and herded subsets alone"}


def intervals(document: dict[str, Any], kind: str, which: str) -> np.ndarray:
    """Value and ends of what is shown, [N, 3]."""
    if ADJUSTED[document["settings"]["data"]]:
        kind = {"trained": "adjusted", "interpolated": "interpolated, adjusted"}.get(kind, kind)
    found = {
        (row["metric"], row["scale"]): row["spearman"]["all"]
        for row in document["rows"]
        if (row["extractor"], row["subsets"]) == (kind, which)
    }
    return np.array([found[name] for name in SHOWN])


def draw(documents: list[dict[str, Any]]) -> Figure:
    """A column for each document, a row for all and for clean subsets."""
    figure = Figure(figsize=(9.0, 9.5), layout="constrained", facecolor=palette.PAPER)
    axes = figure.subplots(2, len(documents), sharex="row", sharey=True, squeeze=False)
    heights = -np.arange(len(SHOWN))
    for line, which in zip(axes, SUBSETS, strict=True):
        for axis, document in zip(line, documents, strict=True):
            for shift, (kind, style) in zip((0.22, 0.0, -0.22), KINDS.items(), strict=True):
                value, low, high = intervals(document, kind, which).T
                axis.hlines(heights + shift, low, high, color=style.colour, lw=1)
                axis.plot(
                    value, heights + shift, style.marker, color=style.colour, ms=4, label=kind
                )
            axis.axvline(0.0, color=palette.INK, lw=0.6)
            axis.grid(axis="x", color=palette.GRID)
            axis.set_axisbelow(True)
            axis.set_title(f"{TITLES[document['settings']['data']]}: {SUBSETS[which]}", fontsize=9)
            axis.set_yticks(heights, LABELS, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("Spearman's correlation, negated distance and accuracy")
    axes[0, 0].legend(title="extractor", fontsize=8, loc="upper left")
    return figure


def main() -> None:
    """Writes the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("image", type=Path)
    options = parser.parse_args()
    with matplotlib.rc_context({"font.size": 8}):
        figure = draw([json.loads(path.read_text()) for path in options.results])
        figure.savefig(options.image, dpi=130)


if __name__ == "__main__":
    main()
