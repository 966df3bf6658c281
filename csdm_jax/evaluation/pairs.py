"""Differences between two runs, over networks that tested both and over distillation seeds.

Networks of equal distillation seed, architecture and evaluation seed start alike and see their
images in the same order, so they are paired: their difference scatters less than either. But all
networks of a distillation seed share its images, so they are no independent sample: what is
independent is the mean over the pairs of a seed. Intervals are Student's, over these means.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from csdm_jax.evaluation import statistics
from csdm_jax.sets import distilled, tracks
from csdm_jax.storage import files

Networks = dict[tuple[int, str, int], dict[str, float]]
"""(distillation seed, architecture, seed of the network) to accuracy by group of classes."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """B - A for one group of classes, in points.

    Attributes:
      group: "all", "many", "medium" or "few".
      by_seed: distillation seed to the differences of its pairs.
    """

    group: str
    by_seed: dict[int, tuple[float, ...]]

    @property
    def seed_means(self) -> np.ndarray:
        """Mean over the pairs of each distillation seed, float64 `[seeds]`."""
        return np.array([np.mean(values) for values in self.by_seed.values()])

    def interval(self, confidence: float = 0.95) -> tuple[float, float | None]:
        """Mean over distillation seeds, and half the width of its interval; None for one seed."""
        return statistics.interval(self.seed_means, confidence)

    @property
    def p_value(self) -> float | None:
        """Student's two-sided p over distillation seeds; None for one seed."""
        return statistics.p_value(self.seed_means)


def networks(folder: Path, method: str | None = None, *, soft: bool = False) -> Networks:
    """Accuracies of every network of the runs of one method in a working directory.

    Args:
      folder: the working directory.
      method: which, where the directory has several.
      soft: whether of networks trained with the soft labels of the shared teacher
        (`csdm_jax.sets.tracks`), rather than with the labels of the method's own.

    Raises:
      ValueError: when the folder has no evaluated run, or those of several methods.
    """
    found: Networks = {}
    methods = set()
    runs = sorted(itertools.chain(folder.glob(distilled.CARD), folder.glob("runs/*/card.json")))
    for run in (path.parent for path in runs):
        track = tracks.soft(run) if soft else run
        if track is None:
            continue
        card = files.read_sealed_json(track / distilled.CARD)
        if method not in (None, card["method"]):
            continue
        methods.add(card["method"])
        for architecture, results in card.get("accuracies", {}).items():
            for one in results:
                by_class = np.array(one["by_class"], float)
                groups = statistics.group_accuracies(by_class, tuple(card["data"]["counts"]))
                key = (card["seed"], architecture, one["seed"])
                found[key] = {"all": one["last"]} | groups
    if not found or len(methods) > 1:
        what = f"methods {', '.join(sorted(methods))}" if methods else "no evaluated run"
        raise ValueError(f"{folder} holds {what}, one is needed: name another folder or --method")
    return found


def differences(first: Networks, second: Networks) -> list[Difference]:
    """B - A of every pair, for all classes and each group that both have.

    Raises:
      ValueError: when no network tested both.
    """
    pairs = sorted(first.keys() & second.keys())
    if not pairs:
        raise ValueError("no network tested both runs: give them the same seeds and networks")
    found = []
    for name in (name for name in first[pairs[0]] if name in second[pairs[0]]):
        by_seed: dict[int, tuple[float, ...]] = {}
        for pair in pairs:
            value = second[pair][name] - first[pair][name]
            by_seed[pair[0]] = (*by_seed.get(pair[0], ()), value)
        found.append(Difference(name, by_seed))
    return found


def table(found: list[Difference]) -> str:
    """As Markdown: the mean over seeds, its 95 % interval and p, and every pair, seed by seed."""
    columns = ("classes", "difference", "95 % interval", "p", "pairs, by distillation seed")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for one in found:
        mean, half = one.interval()
        if np.isnan(mean):  # a group of classes without test images
            continue
        width = "one seed" if half is None else f"{mean - half:+.1f} to {mean + half:+.1f}"
        each = "; ".join(
            " ".join(f"{value:+.1f}" for value in values) for values in one.by_seed.values()
        )
        chance = "-" if one.p_value is None else f"{one.p_value:.2g}"
        lines.append(f"| {one.group} | {mean:+.1f} | {width} | {chance} | {each} |")
    return "\n".join(lines)
