"""The report of a run as one HTML file that needs nothing else: `report.html`.

It is drawn for any folder with a distilled set, an imported one among them, from what lies there;
what it does not hold is left out.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from csdm_jax import parameterisations
from csdm_jax.data.class_names import spoken
from csdm_jax.data.longtail import head_to_tail
from csdm_jax.evaluation.statistics import last_text
from csdm_jax.reporting import figures, history, palette, spectra
from csdm_jax.reporting.history import History
from csdm_jax.runtime.fields import flatten
from csdm_jax.runtime.text import printable
from csdm_jax.sets import distilled, snapshots, tracks
from csdm_jax.sets.snapshots import Snapshot
from csdm_jax.storage import files
from csdm_jax.storage.journal import METRICS

FILE = "report.html"
SHOWN_CLASSES, SHOWN_IMAGES = 20, 8
DRAWN_METHODS = 8  # side by side in a figure
ROOM = 512  # pixels of the images of a class side by side, of large ones
UNTESTED = "no test image"
STAGES = ("extractors", "distillation", "evaluation")
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("csdm_jax.reporting"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclasses.dataclass(frozen=True)
class Run:
    """A distilled set and what was recorded beside it.

    Attributes:
      card: its card; an imported set's may lack `method`, `seed`, `data`, `config` and more.
      result: the set.
      history: its metrics, empty for a set that was not optimised here.
      timings: seconds by stage and `peak_memory_bytes` by stage.
      spectrum: see `csdm_jax.reporting.spectra`; None without one.
      snapshots: of the images along the steps; none of a run older than these.
    """

    card: dict[str, Any]
    result: distilled.DistilledSet
    history: History
    timings: dict[str, Any]
    spectrum: dict[str, Any] | None
    snapshots: Sequence[Snapshot] = ()

    @property
    def method(self) -> str:
        """Its name, for a reader."""
        return self.card.get("method", f"{self.card.get('imported_from', 'unknown')} (imported)")

    @property
    def label(self) -> str:
        """Method and seed."""
        return f"{self.method}, seed {self.card['seed']}" if "seed" in self.card else self.method

    @property
    def counts(self) -> list[int] | None:
        """Training images of each class, where the card says them."""
        return self.card.get("data", {}).get("counts")

    @property
    def class_names(self) -> list[str]:
        """One per class."""
        numbers = [str(label) for label in range(self.result.num_classes)]
        return [printable(spoken(str(name))) for name in self.card.get("class_names", numbers)]

    @property
    def order(self) -> np.ndarray:
        """`[C]` classes, head to tail; in label order where counts are unknown."""
        return head_to_tail(self.counts or [0] * self.result.num_classes)

    @property
    def looks(self) -> list[Snapshot]:
        """The snapshots and, as the last, the set itself; none of a run without."""
        if not self.snapshots:
            return []
        counts = self.counts or [0] * self.result.num_classes
        return [*self.snapshots, snapshots.taken(self.history.steps, self.result, counts)]

    def tick(self, label: int) -> str:
        """Name and count of a class."""
        name = figures.shortened(self.class_names[label], 18)
        return f"{name} ({self.counts[label]})" if self.counts else name


def read(folder: Path) -> Run:
    """What a folder holds.

    Raises:
      FileNotFoundError: when there is no distilled set.
      DamagedError: when the set or its card is not what was saved.
      ValueError: when the set breaks its rules.
    """
    result, card = distilled.load(folder)
    try:
        timings = files.read_sealed_json(folder / "timings.json")
    except (FileNotFoundError, files.DamagedError):  # no result: a page can do without
        timings = {}
    past = history.read(folder / METRICS, result.num_classes)
    looks = snapshots.read(folder, past.steps)
    return Run(card, result, past, timings, spectra.read(folder, card), looks)


def render(
    runs: Sequence[Run],
    *,
    rows: Sequence[dict[str, Any]] = (),
    tables: Sequence[dict[str, Any]] = (),
    real: dict[int, np.ndarray] | None = None,
    comparison: dict[str, Any] | None = None,
) -> str:
    """The page.

    Args:
      runs: of one experiment; the last is the one that the page is about.
      rows: of the result table (`csdm_jax.reporting.table.gather`).
      tables: the same as text (`csdm_jax.reporting.table.tables`).
      real: real images of classes, uint8 `[n, H, W, ch]`.
      comparison: of the methods, see `csdm_jax.reporting.compared.section`.
    """
    main = runs[-1]
    compared = _comparable(rows, main)
    return _TEMPLATES.get_template("report.html").render(
        main=main,
        title=_title(main),
        summary=_summary(main, compared),
        numbers=_numbers(main, compared),
        tables=tables,
        labels_note=tracks.NOTE if any("labels" in one["header"] for one in tables) else "",
        accuracy_figures=_accuracy_figures(main, runs, compared),
        class_table=_class_table(main, compared),
        comparison=comparison,
        images=_images(main, real or {}),
        scale=(scale := figures.enlargement(pixels := main.result.images)),
        height=scale * pixels.shape[1],
        width=scale * pixels.shape[2],
        paper=palette.PAPER,
        grey=palette.GREY,
        grey_on_dark=palette.GREY_ON_DARK,
        frames=_frames(main),
        tiles=main.result.codec.tiles if "images" in main.result.stored else 1,
        loss_figures=_loss_figures(main),
        spectrum_figures=_spectrum_figures(main),
        spectrum=main.spectrum,
        costs=_costs(runs),
        config=_settings(main.card.get("config", {})),
        versions=main.card.get("versions", {}),
        device=main.card.get("device"),
        card=_facts(main.card),
    )


def _comparable(rows: Sequence[dict[str, Any]], main: Run) -> dict[str, dict[str, Any]]:
    """Rows of the main run's setting and first network, by method, the main run's first."""
    networks = list(main.card.get("accuracies", {}))
    track = "soft" if tracks.SOFT in main.card else "own"
    rows = [row for row in rows if row["track"] == track]
    own = [r for r in rows if r["method"] == main.method and r["network"] in networks[:1]]
    if not own:
        return {}
    shared = ("data", "ipc", "evaluated_on", "width", "network")
    alike = [row for row in rows if all(row[name] == own[0][name] for name in shared)]
    ordered = sorted(alike, key=lambda row: (row["method"] != main.method, -row["last"]))
    found: dict[str, dict[str, Any]] = {}
    for row in ordered:
        found.setdefault(row["method"], row)
    return found


def _title(main: Run) -> str:
    data = main.card.get("data", {}).get("name")
    on = f" on {data}" if data else ""
    return f"{main.method}{on}: {len(main.result.images)} distilled images"


def _summary(main: Run, compared: dict[str, dict[str, Any]]) -> str:
    """One sentence: what was made of what, and what networks learn from it."""
    images, classes = len(main.result.images), main.result.num_classes
    if not main.counts:
        return f"{images} images of {classes} classes stand for a training set."
    data = main.card["data"]
    text = (
        f"{images} images stand for the {sum(main.counts)} training images of {data['name']}, "
        f"which fall from {max(main.counts)} in the largest of {classes} classes to "
        f"{min(main.counts)} in the smallest"
    )
    if main.method not in compared:
        return f"{text}."
    row = compared[main.method]
    text += f"; networks trained on them alone reach {last_text(row)} % on {_tested(main, row)}"
    if "random" not in compared or main.method == "random":
        return f"{text}."
    gain = row["last"] - compared["random"]["last"]
    side = "above" if gain >= 0 else "below"
    return f"{text}, {abs(gain):.1f} points {side} real images drawn at random."


def _tested(main: Run, row: dict[str, Any]) -> str:
    """What networks were tested on, and how many images that is where the card says so."""
    number = main.card.get("test_images")
    many = f"{number} " if number else ""
    if row["evaluated_on"] == "tuning":
        return f"{many}held-out training images"
    if "holdout" in row["data"]:
        return f"the test set, {many}images held out of the data"
    return f"the test set of {number} images" if number else "the test set"


def _numbers(main: Run, compared: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Key numbers: value and what it is."""
    numbers = []
    if main.method in compared:
        row = compared[main.method]
        runs = f"{_several(row['networks'], 'network')} on {_several(len(row['seeds']), 'set')}"
        numbers.append((f"{last_text(row)} %", f"accuracy after the last epoch, {runs}"))
        if "few" in row["groups"]:
            numbers.append((f"{row['groups']['few']:.1f} %", "on the third of rarest classes"))
    numbers.append((str(len(main.result.images)), _stored(main)))
    if main.counts:
        share = len(main.result.images) / sum(main.counts)
        numbers.append((f"{100 * share:.2g} %", "of the number of training images"))
    numbers.append((_size(parameterisations.size(main.result.stored)), "of float32 numbers"))
    if "distillation" in main.timings:
        numbers.append((_duration(main.timings["distillation"]), "of distillation"))
    return numbers


def _stored(main: Run) -> str:
    """What `DistilledSet.images` holds: stored images, or decoded ones where none are stored."""
    per_class, kind = main.card.get("ipc"), "stored images"
    if "images" not in main.result.stored:
        kind, tiles = "decoded images", main.result.codec.tiles
        per_class = per_class * tiles if isinstance(per_class, int) else None
    return f"{kind}, {per_class} a class" if isinstance(per_class, int) else kind


def _several(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _size(number: float) -> str:
    unit, divisor = next(one for one in _UNITS if number >= one[1] or one[1] == 1)
    return f"{number / divisor:.3g} {unit}"


_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _accuracy_figures(
    main: Run, runs: Sequence[Run], compared: dict[str, dict[str, Any]]
) -> list[tuple[Markup, str]]:
    """Drawings with their captions."""
    if not compared:
        return []
    compared, left_out = _drawn(compared)
    values = {name: {"all": row["last"]} | row["groups"] for name, row in compared.items()}
    intervals = {
        name: {"all": row["last_interval"]}
        for name, row in compared.items()
        if row["last_interval"]
    }
    grouped = figures.groups("groups", values, intervals)
    order, ticks = main.order, [main.tick(label) for label in main.order]
    series = {name: _floats(row["by_class"])[order] for name, row in compared.items()}
    drawn = figures.by_class("classes", series, ticks, x="test accuracy, %")
    lines = _learning_curves(runs, compared)
    learnt = figures.curves("epochs", lines, x="evaluation epoch", y="test accuracy, %")
    return [
        (Markup(grouped), "Mean accuracy of all classes, and of many-, medium- and few-shot ones: "
         "the classes by training count, in thirds. Lines: 95 % interval of the mean over networks "
         "(Student's t), cut at 0 and 100." + left_out),
        (Markup(learnt), "Test accuracy while fresh networks train on the distilled images, mean "
         "over all networks. The last epoch counts; no epoch is selected."),
        (Markup(drawn), "Accuracy of each class after the last epoch, mean over all networks; "
         "head classes first, training images in brackets."),
    ]  # fmt: skip


def _drawn(compared: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], str]:
    """The methods that a figure has room for: the page's, the best, random; a word on others."""
    if len(compared) <= DRAWN_METHODS:
        return compared, ""
    first = [name for name in compared if name != "random"]
    names = {*first[: DRAWN_METHODS - 1], "random"} & compared.keys()
    said = f" Of {len(compared)} methods {len(names)} are drawn, the best among them."
    return {name: row for name, row in compared.items() if name in names}, said


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _learning_curves(
    runs: Sequence[Run], compared: dict[str, dict[str, Any]]
) -> list[figures.Curve]:
    """Mean test accuracy over the epochs, a curve for each method."""
    curves = []
    for method, row in compared.items():
        histories = [
            one["history"]
            for run in runs
            if run.method == method
            for one in run.card.get("accuracies", {}).get(row["network"], [])
        ]
        longest = max(map(len, histories))
        table = np.array([h for h in histories if len(h) == longest], float)
        mean = table[:, :, 2].mean(axis=0)
        curves.append((method, table[0, :, 0], mean, palette.of_method(method)))
    return curves


def _class_table(main: Run, compared: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Class, count and accuracies, head to tail."""
    if not (compared or main.counts):
        return None
    rows = []
    for label in main.order:
        values = (row["by_class"][label] for row in compared.values())
        count = [str(main.counts[label])] if main.counts else []
        cells = [UNTESTED if value is None else f"{value:.1f}" for value in values]
        rows.append([main.class_names[label], *count, *cells])
    header = ["class", *(["training images"] if main.counts else []), *compared]
    return {"header": header, "rows": rows}


def _images(main: Run, real: dict[int, np.ndarray]) -> list[dict[str, Any]]:
    """A row for each class shown: name, count and two strips, head to tail."""
    rows = []
    most = max(2, min(SHOWN_IMAGES, ROOM // main.result.images.shape[2]))
    for label in main.order[figures.spaced(len(main.order), SHOWN_CLASSES)]:
        own = main.result.of_class(label)
        pictures = {"distilled": own, "real": real.get(int(label), own[:0])}
        strips = {kind: _addresses(some[:most]) for kind, some in pictures.items() if len(some)}
        rows.append(
            {
                "name": main.class_names[label],
                "count": main.counts[label] if main.counts else None,
                "strips": strips,
            }
        )
    return rows


def _frames(main: Run) -> list[dict[str, Any]]:
    """The images along the steps, the distilled set's last: step and a row a class each."""
    return [
        {
            "step": look.step,
            "rows": [
                (main.tick(label), _addresses(look.images[look.labels == label]))
                for label in dict.fromkeys(look.labels.tolist())
            ],
        }
        for look in main.looks
    ]


def _addresses(images: np.ndarray) -> list[str]:
    return [
        "data:image/png;base64," + base64.b64encode(figures.png(one)).decode() for one in images
    ]


def shown_classes(counts: Sequence[int]) -> list[int]:
    """The classes whose images the page shows."""
    order = head_to_tail(counts)
    return order[figures.spaced(len(order), SHOWN_CLASSES)].tolist()


def _loss_figures(main: Run) -> list[tuple[Markup, str]]:
    """Drawings with their captions."""
    past = main.history
    if "loss" not in past.scalars:
        return []
    found = [_loss(main)]
    means = [name for name in past.scalars if name.startswith("mean ")]
    if means:
        lines = [
            (name.removeprefix("mean "), *past.smoothed(name), palette.plain(number))
            for number, name in enumerate(means)
        ]
        drawn = figures.curves(
            "parts", lines, x="distillation step", y="mean over classes", logarithmic=True
        )
        found.append((Markup(drawn), _PARTS_CAPTIONS.get(tuple(sorted(means)), _MEANS_CAPTION)))
    order = main.order
    ticks = [main.tick(label) for label in order]
    for name, values in past.by_class.items():
        drawn = figures.heat(f"heat-{name}", values[:, order], ticks, steps=past.steps, label=name)
        caption = f"{name.capitalize()} of each class over the steps; head classes at the top."
        found.append((Markup(drawn), caption))
    return found


_MEANS_CAPTION = "What a step tells of each class, mean over the classes of a step."
_PARTS_CAPTIONS = {
    ("mean amplitude", "mean phase"): "Amplitude and phase of the spectral distance, before they "
    "are weighted: amplitude tells how far the diversity of the synthetic features is off, phase "
    "how far their realism.",
    ("mean distance",): "Distance between real and synthetic features, mean over the classes of a "
    "step.",
}


def _loss(main: Run) -> tuple[Markup, str]:
    """The loss and, where the card has the weights, the terms that add up to it."""
    lines = figures.loss_terms(main.history, main.card)
    caption = "Loss over the steps, running mean over a fiftieth of the run."
    if len(lines) > 1:
        caption = (
            "Loss over the steps and its terms as they are weighted in it: matching of the "
            "feature distributions, and calibration, the cross-entropy of the trained extractor. "
            "Running means over a fiftieth of the run."
        )
    drawn = figures.curves("loss", lines, x="distillation step", y="loss", logarithmic=True)
    return Markup(drawn), caption


def _spectrum_figures(main: Run) -> list[tuple[Markup, str]]:
    """Drawings with their captions."""
    if main.spectrum is None:
        return []
    found = []
    for number, one in enumerate(main.spectrum["classes"]):
        which = ("Head", "Tail")[number] if len(main.spectrum["classes"]) > 1 else "The"
        for modulus in (True, False):
            drawn = figures.spectrum(
                f"spectrum-{number}-{'modulus' if modulus else 'real'}",
                one,
                radii=main.spectrum["radii"],
                median=main.spectrum["median_radius"],
                modulus=modulus,
            )
            part = "modulus" if modulus else "phase"
            caption = (
                f"{which} class {spoken(one['name'])}, {part}: "
                f"{_several(one['real'], 'real image')}, {one['synthetic']} synthetic."
            )
            found.append((Markup(drawn), caption))
    return found


def _costs(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Seconds and peak memory of each stage, a row for each run, the page's first."""
    ordered = [run for run in (runs[-1], *runs[:-1]) if run.timings]
    memories = [run.timings.get("peak_memory_bytes", {}) for run in ordered]
    rows = [[run.label, *(_cell(run.timings, stage, _duration) for stage in STAGES)]
            for run in ordered]  # fmt: skip
    header = ["run", *STAGES]
    caption = "Time by stage, over all calls that worked on it; extractors serve all runs."
    if any(memories):
        header += [f"memory: {stage}" for stage in STAGES]
        rows = [[*row, *(_cell(memory, stage, _size) for stage in STAGES)]
                for row, memory in zip(rows, memories, strict=True)]  # fmt: skip
        caption += " Memory: the program's peak up to the end of the stage, earlier ones included."
    return {"header": header, "rows": rows, "caption": caption} if rows else None


def _cell(values: dict[str, float], stage: str, text: Callable[[float], str]) -> str:
    return text(values[stage]) if stage in values else "–"


def _settings(config: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, json.dumps(value)) for name, value in sorted(flatten(config).items())]


def _facts(card: dict[str, Any]) -> str:
    """The card without what the page shows elsewhere, as JSON."""
    shown = ("accuracies", "config", "versions")
    facts = {name: value for name, value in card.items() if name not in shown}
    return json.dumps(facts, indent=1, ensure_ascii=False)
