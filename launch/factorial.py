r"""What matters on a long tail: a factorial experiment over metric, extractors, start and labels.

    python launch/factorial.py --out=OUT --design=digits|cifar10 [--jobs=2] \
      [-- FLAGS of csdm distil for every run, as --data_dir=DATA_DIR]
    python launch/factorial.py --out=OUT --design=digits|cifar10 --analyse [-- THE SAME FLAGS]

A run is tested on tuning images, with hard labels and with soft ones of its extractors, corrected
by ADSA's rule: the test set is not looked at. Half the runs have the distillation seed 0 and half
the seed 1, in blocks that no effect of the analysis is mixed up with. Finished runs are skipped, so
the same command goes on after a stop; the runs share the pools in OUT/pool.

digits: all 512 combinations on digits_lt. cifar10: 64 of them at the cpu preset of CIFAR-10-LT,
with fewer extractors, steps and epochs of evaluation (`SHORT`). The queue is trained less than IDM
trains it (`COMMON`). The 64 are the orthogonal array of strength 3
whose columns are points of the hyperoval of PG(2, 4): with metric A, schedule B and training C,
numbers of GF(4),

    start D = A + B + C,    steps E = the lower bit of A + w B + w^2 C,

where w^2 = w + 1. No main effect is aliased with an interaction of two factors (resolution IV); nor
are two of those that have a factor in common, so that the interactions of the metric, and those of
the labels, with which every run is tested, are told apart where the others are small.

--analyse fits `csdm_jax.evaluation.effects` to what is finished, to the mean accuracy of the
classes and to that of the rarest third, and writes rows.csv, effects.md, effects.json, effects.png
and effects.svg to OUT. Tuning images are those that the long-tailed set leaves out: the largest
class has none, and what a remedy for the tail costs it is not seen. Under the schedule `queue` the
training of the extractors moves soft labels, a start that reads extractors and the metric's scale
alone. All runs of a training share a pool: what is random in the pools, and so in a start that
reads one, is not in the intervals.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from csdm_jax import sweep
from csdm_jax.evaluation import effects, statistics
from csdm_jax.evaluation.effects import Effect
from csdm_jax.experiment import command_line, sweeps
from csdm_jax.reporting import figures, palette
from csdm_jax.runtime import interruption, paths
from csdm_jax.sets import distilled, tracks
from csdm_jax.storage import files

PLAIN = {
    "extractors.logit_adjustment": 0.0,
    "extractors.consistency": 0.0,
    "extractors.reweighting": 0.0,
    "extractors.classifier_epochs": 0,
}
FACTORS: dict[str, dict[str, dict[str, Any]]] = {
    "metric": {
        "dm": {"method": "dm", "sdd.estimator": "spectral"},
        "ncfm": {"method": "ncfm", "sdd.estimator": "spectral"},
        "csdm": {"method": "csdm", "sdd.estimator": "spectral"},
        "csdm exact": {"method": "csdm", "sdd.estimator": "exact"},
    },
    "schedule": {
        name: {"distill.extractor": name} for name in ("blended", "fresh", "trajectory", "queue")
    },
    "training": {
        "plain": PLAIN,
        "logit adjustment": PLAIN | {"extractors.logit_adjustment": 1.0},
        "two views, late weights": PLAIN
        | {"extractors.consistency": 1.0, "extractors.reweighting": 1.0},
        "second stage": PLAIN | {"extractors.classifier_epochs": 10},
    },
    "start": {
        name: {"distill.initialisation": name}
        for name in ("random", "kmeans", "herding", "realism")
    },
}
"""Of every factor its levels, and what each sets; the numbers of steps are the design's."""
LABELS = ("hard", "soft")
RESPONSES = ("accuracy", "few")
"""What is explained: means over the classes with tuning images, and over the rarest third."""
BLOCK = ("schedule", "training", "steps")
"""Factors whose numbers of levels, added up, are even or odd as the seed is."""
Point = dict[str, str]
"""The level of every factor, but for the labels."""
COMMON = (
    "--config.evaluate.on=tuning",
    "--config.evaluate.soft_labels=True",
    "--config.evaluate.soft_correction=adsa",
    # The queue's training costs as much as the step that reads it, not ten times that.
    "--config.idm.trained=1",
    "--config.idm.train_steps=5",
    "--config.idm.batch=64",
    "--config.idm.learning_rate=0.05",
)
SHORT = (
    "--config.extractors.count=2",
    "--config.distill.learning_rate=0.01",
    "--config.evaluate.count=2",
    "--config.evaluate.epochs=40",
    "--config.evaluate.learning_rate=0.003",  # results/ablations/tuning: so few steps need it
    "--config.evaluate.check_every=40",
)
SHOWN = 10  # interactions in the figure
GF4 = np.array([[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]])
"""Products of GF(4), whose sums are those of bits: 2 is w, 3 is w + 1."""
HYPEROVAL = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 2, 3))
"""Points of PG(2, 4), no three on a line: coefficients of the columns."""


@dataclasses.dataclass(frozen=True)
class Design:
    """Which points are run, and how.

    Attributes:
      config: of the runs.
      flags: for every run.
      steps: few and many.
      whole: whether all points are run, or those of the orthogonal array.
    """

    config: str
    flags: tuple[str, ...]
    steps: tuple[int, int]
    whole: bool

    @property
    def factors(self) -> dict[str, dict[str, dict[str, Any]]]:
        """`FACTORS`, and the steps."""
        return FACTORS | {"steps": {str(n): {"distill.steps": n} for n in self.steps}}

    @property
    def levels(self) -> dict[str, list[str]]:
        """The names of all levels, those of the labels among them."""
        return {name: [*levels] for name, levels in self.factors.items()} | {"labels": [*LABELS]}

    @property
    def points(self) -> list[Point]:
        """What is run."""
        counts = [len(levels) for levels in self.factors.values()]
        rows = itertools.product(*map(range, counts)) if self.whole else array()
        names = {name: [*levels] for name, levels in self.factors.items()}
        return [
            {name: names[name][at] for name, at in zip(names, row, strict=True)} for row in rows
        ]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The interactions that the points tell apart."""
        every = itertools.combinations(self.levels, 2)
        return [pair for pair in every if self.whole or {"metric", "labels"} & {*pair}]

    def seed(self, point: Point) -> int:
        """The distillation seed of a point, 0 or 1: a part of the interaction of three factors."""
        return sum([*self.factors[name]].index(point[name]) for name in BLOCK) % 2

    def fields(self, point: Point) -> dict[str, Any]:
        """What a point sets."""
        parts = (self.factors[name][level] for name, level in point.items())
        own = {field: value for part in parts for field, value in part.items()}
        return own | {"distill.seeds": (self.seed(point),)}

    @property
    def sweep(self) -> str:
        """The points as one axis whose fields move together."""
        rows = [self.fields(point) for point in self.points]
        names = ":".join(f"config.{field}" for field in rows[0])
        return f"{names}={','.join(':'.join(map(str, row.values())) for row in rows)}"


DESIGNS = {
    "digits": Design("digits_lt", (), (100, 300), whole=True),
    "cifar10": Design("cifar10_lt:imb=100,ipc=10,cpu", SHORT, (30, 90), whole=False),
}


def array() -> list[tuple[int, ...]]:
    """64 rows of four columns of four levels and one of two, of strength 3."""
    rows = []
    for vector in itertools.product(range(4), repeat=3):
        column = [
            int(np.bitwise_xor.reduce([GF4[c, v] for c, v in zip(point, vector, strict=True)]))
            for point in HYPEROVAL
        ]
        rows.append((*column[:-1], column[-1] % 2))
    return rows


def measured(design: Design, runs: Sequence[sweeps.Run]) -> list[dict[str, Any]]:
    """A row for each distilled set of a finished run and kind of labels: the networks' mean."""
    rows = []
    for number, (point, run) in enumerate(zip(design.points, runs, strict=True)):
        if not sweeps.is_finished(run):
            continue
        for folder, (_, seed) in zip(run.folders, run.pairs, strict=True):
            soft = tracks.soft(folder)
            for labels, own in zip(LABELS, (folder, soft), strict=True):
                if own is not None:
                    name = {"set": f"{number}-{seed}", "seed": seed, "labels": labels}
                    rows.append(point | name | _accuracy(own))
    return rows


def _accuracy(folder: Path) -> dict[str, Any]:
    """The networks' means, each network's own, and which images these are."""
    card = files.read_sealed_json(folder / distilled.CARD)
    if card["config"]["evaluate"]["on"] != "tuning":
        raise ValueError(f"{folder} was tested on the test set: settings are not chosen there")
    results = [one for own in card["accuracies"].values() for one in own]
    by_class = statistics.mean_by_class([one["by_class"] for one in results])
    groups = statistics.group_accuracies(by_class, card["data"]["counts"])
    last = [float(one["last"]) for one in results]
    said = {"networks": " ".join(f"{one:.2f}" for one in last), "sha256": card[distilled.DIGEST]}
    means = {"accuracy": float(np.nanmean(by_class))} | groups
    return {name: round(value, 3) for name, value in means.items()} | said


def ordered(found: Iterable[Effect]) -> tuple[list[Effect], list[Effect]]:
    """Main effects, the factor with the widest range first and its best level on top; and others.

    Interactions: the largest first.
    """
    mains: dict[str, list[Effect]] = {}
    others = []
    for one in found:
        if len(one.factors) > 1:
            others.append(one)
        else:
            mains.setdefault(one.factors[0], []).append(one)
    by_range = sorted(mains.values(), key=lambda own: -np.ptp([one.value for one in own]))
    sorted_mains = [one for own in by_range for one in sorted(own, key=lambda one: -one.value)]
    return sorted_mains, sorted(others, key=lambda one: -abs(one.value))


def best(
    found: Sequence[Effect], levels: Mapping[str, Sequence[str]], labels: str
) -> tuple[Point, float]:
    """The point of which the model expects most, of all combinations, with these labels.

    And how much more than of the mean over all levels.

    Interactions that the model leaves out are taken as 0.
    """
    values = {(one.factors, one.levels): one.value for one in found}
    terms = list(dict.fromkeys(one.factors for one in found))

    def expected(point: Mapping[str, str]) -> float:
        return sum(values[term, tuple(point[name] for name in term)] for term in terms)

    asked = {**levels, "labels": [labels]}
    points = [dict(zip(asked, one, strict=True)) for one in itertools.product(*asked.values())]
    found_point = max(points, key=expected)
    return found_point, expected(found_point)


def table(
    found: Sequence[Effect],
    rare: Sequence[Effect],
    rows: Sequence[Mapping[str, Any]],
    design: Design,
) -> str:
    """The effects as Markdown.

    Args:
      found: on the accuracy of all classes that are tested.
      rare: on that of the rarest third.
      rows: that they explain.
      design: of which these are the runs that are finished.
    """
    mains, others = ordered(found)
    clear = [one for one in others if one.low > 0 or one.high < 0]
    sets, total = len({row["set"] for row in rows}), len(design.points)
    seeds = len({row["seed"] for row in rows})
    mean, low = (np.mean([row[name] for row in rows]) for name in RESPONSES)
    of_rare = {(one.factors, one.levels): one for one in rare}
    lines = [
        "| factor | level | all classes tested | 95 % interval | rarest third | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_line(one, of_rare[one.factors, one.levels]) for one in mains]
    lines += ["", "| factors | levels | interaction | 95 % interval |", "|---|---|---|---|"]
    lines += [_line(one) for one in clear]
    lines += [
        "",
        f"{sets} of {total} runs, {seeds} seeds as blocks. Points of accuracy on tuning images, "
        f"last epoch, against the mean over all levels (of these rows {mean:.1f} % over classes "
        f"with tuning images, which the largest class has not, and {low:.1f} % over the rarest "
        "third); an interaction is what two levels add beyond their effects, over all classes "
        "tested. A mixed model, the set of a run being the group; Student's intervals, in which "
        "the randomness of the pools of extractors, one a training, is not. Of "
        f"{len(others)} interactions those are shown whose interval leaves 0 out, as that of one "
        "in twenty does by chance.",
        "",
        "Of all combinations the model expects most of these two, chosen by the same runs, which "
        "flatters them; interactions that are not in the model are taken as 0:",
        "",
    ]
    for labels in LABELS:
        point, more = best(found, design.levels, labels)
        lines.append(
            f"- {', '.join(f'{name} {level}' for name, level in point.items())}: {more:+.1f}"
        )
    return "\n".join(lines) + "\n"


def _line(*same: Effect) -> str:
    """A row of one effect, on all classes tested and then, if given, on others."""
    names, levels = " x ".join(same[0].factors), " x ".join(same[0].levels)
    cells = [f"{one.value:+.1f} | {one.low:+.1f} to {one.high:+.1f}" for one in same]
    return f"| {names} | {levels} | {' | '.join(cells)} |"


def draw(found: Sequence[Effect], rare: Sequence[Effect]) -> Any:
    """The effects with their intervals, sorted: main effects, and the largest interactions.

    Args:
      found: on the accuracy of all classes that are tested.
      rare: on that of the rarest third, hollow, beside the main effects.

    Returns:
      A Matplotlib figure.
    """
    of_rare = {(one.factors, one.levels): one for one in rare}
    mains, others = ordered(found)
    others = others[:SHOWN]
    factors = list(dict.fromkeys(one.factors[0] for one in mains))
    high = len(mains) + 0.5 * len(factors) + len(others)
    with figures.canvas(7.2, 1.2 + 0.23 * high, layout="constrained") as (figure, axis):
        shown = mains + others
        blocks = [one.factors if len(one.factors) == 1 else () for one in shown]
        gaps = [1.0 if a == b else 1.5 for a, b in itertools.pairwise(blocks)]
        places = np.cumsum([0.0, *gaps])
        for place, one in zip(places, shown, strict=True):
            main = len(one.factors) == 1
            look = palette.numbered(factors.index(one.factors[0]) if main else -1)
            colour = look.colour if main else palette.GREY
            axis.plot([one.low, one.high], [place, place], color=colour, linewidth=1.6)
            marker = look.marker if main else "o"
            axis.plot(one.value, place, marker, color=colour, markersize=5)
            if main:
                other, below = of_rare[one.factors, one.levels], place + 0.3
                axis.plot([other.low, other.high], [below, below], color=colour, linewidth=0.8)
                hollow = {"markerfacecolor": "white", "markeredgecolor": colour}
                axis.plot(other.value, below, marker, markersize=4, **hollow)
        names = [f"{' x '.join(one.factors)}: {' x '.join(one.levels)}" for one in shown]
        axis.set_yticks(places, names, fontsize=8)
        axis.set_ylim(places[-1] + 0.8, places[0] - 0.8)
        axis.axvline(0.0, color=palette.INK, linewidth=0.8)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("points of accuracy on tuning images, against the mean over all levels")
        title = "Main effects, the widest factor first; below, the largest interactions"
        axis.set_title(
            f"{title}\nFilled: all classes tested; hollow: the rarest third (95 % intervals)",
            fontsize=9,
            loc="right",
        )
    return figure


def analyse(design: Design, rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Fits the model, and writes and prints what it says."""
    found, rare = (
        effects.estimate(rows, design.levels, design.pairs, response=name) for name in RESPONSES
    )
    text = table(found, rare, rows, design)
    with io.StringIO(newline="") as written:
        lines = csv.DictWriter(written, rows[0].keys(), lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)
        files.write_bytes(out / "rows.csv", written.getvalue().encode())
    kinds = zip(RESPONSES, (found, rare), strict=True)
    own = [{"response": name} | one._asdict() for name, kind in kinds for one in kind]
    files.write_json(out / "effects.json", own)
    files.write_bytes(out / "effects.md", text.encode())
    for kind in ("png", "svg"):
        files.write_bytes(out / f"effects.{kind}", figures.picture(draw(found, rare), kind))
    print(text)


def main(argv: list[str] | None = None) -> int:
    """Runs or analyses the experiment. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=paths.given, required=True, help="folder of the experiment")
    parser.add_argument("--design", choices=DESIGNS, required=True, help="which of the two")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--analyse", action="store_true", help="only analyse what is finished")
    parser.add_argument("flags", nargs="*", help="behind --: flags of csdm distil")
    options = parser.parse_args(argv)
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    design = DESIGNS[options.design]
    given = [f"--config={design.config}", f"--sweep={design.sweep}", f"--out={options.out}"]
    every = [*COMMON, *design.flags, *options.flags]
    with command_line.reported(), interruption.handled():
        swept = sweep.parse([*given, f"--jobs={options.jobs}", "--", *every])
        _, runs, flags = sweep.plan(swept)
        if on := {run.config.evaluate.on for run in runs} - {"tuning"}:
            raise ValueError(f"evaluate.on = {on.pop()!r}: settings are not chosen there, leave it")
        if not options.analyse:
            return sweep.start(swept, runs, flags)
        rows = measured(design, runs)
        if not rows:
            raise ValueError(
                f"no run in {options.out} is finished with these flags: finish some, and give "
                "behind -- the flags that they had, --data_dir among them"
            )
        analyse(design, rows, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
