"""The figures of a report: PNG files, and SVG whose colours a page chooses.

Ground, ink, grid and grey of an SVG are CSS variables (`--ink` and so on), so that one drawing can
be read on a light and on a dark page; other colours suit both. Text stays text, in the page's
font.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image

from csdm_jax.data.class_names import spoken
from csdm_jax.data.longtail import head_to_tail
from csdm_jax.reporting import fonts, palette
from csdm_jax.reporting.history import History
from csdm_jax.reporting.palette import GREY, GRID, INK, PAPER, Style
from csdm_jax.runtime.fields import flatten
from csdm_jax.runtime.text import printable
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.sets.snapshots import Snapshot

RC: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.0,
    "font.size": 10.0,
    "grid.color": GRID,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "csdm_jax",
    "text.color": INK,
    "text.parse_math": False,  # a class name may hold dollar signs
    "xtick.color": INK,
    "ytick.color": INK,
}
WIDTH = 4.6  # inches of a page's figure: on a phone its text is still 10 pixels high
LETTERS = 54  # side by side in it
NAMED = 40  # classes up to which each has its name in a figure
CLASSES, COLUMNS = 100, 20  # rows and columns of images.png: a picture has at most 2^16 pixels
DPI = 110
SIDE = 64  # pixels of a small image's longer side, where it is shown: a whole multiple of its own
OUTLINE, GAP = 200, 3  # grey around an image, pixels between two
MARGIN = 12  # pixels around a picture
FRAME = 800  # milliseconds
FAINT = 0.1

Curve = tuple[str, np.ndarray, np.ndarray, Style]
"""Label, x `[n]`, y `[n]`, how it is drawn."""


@contextlib.contextmanager
def canvas(
    width: float, height: float, columns: int = 1, layout: Literal["constrained"] | None = None
) -> Iterator[tuple[Any, Any]]:
    """A figure in inches and its axes, in this module's style."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC), _without_shaping():
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure, figure.subplots(1, columns)


@contextlib.contextmanager
def _without_shaping() -> Iterator[None]:
    """No word on what Matplotlib cannot draw: a browser can, and a PNG has escapes for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def _drawing(height: float) -> contextlib.AbstractContextManager[tuple[Any, Any]]:
    """A figure of `WIDTH`, long labels and all: text has one size in all of them."""
    return canvas(WIDTH, height, layout="constrained")


def picture(figure: Any, kind: str = "png") -> bytes:
    """A figure as the bytes of a PNG or SVG file, the same in every run."""
    import matplotlib

    buffer, undated = io.BytesIO(), {"Date": None} if kind == "svg" else None
    with matplotlib.rc_context(RC):
        figure.savefig(buffer, format=kind, dpi=DPI, bbox_inches="tight", metadata=undated)
    return buffer.getvalue()


_VARIABLES = {PAPER: "--page", INK: "--ink", GRID: "--grid", GREY: "--grey"}


def _svg(figure: Any, name: str) -> str:
    """An `<svg>` element; `name` is unique on its page and sets its ids apart."""
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text


def draw_images(result: DistilledSet, card: dict[str, Any]) -> bytes:
    """The stored images (decoded, where no images are stored): a PNG, a row per class.

    The largest class is at the top. At most `COLUMNS` images a class, and `CLASSES` classes,
    evenly spaced. An image has its own pixels, each of them drawn as a square of whole pixels.
    """
    counts = card["data"]["counts"]
    rows = head_to_tail(counts)[spaced(result.num_classes, CLASSES)]
    classes = [result.of_class(label)[:COLUMNS] for label in rows]
    names, family = _legible([card["class_names"][label] for label in rows])
    labels = [f"{name} ({counts[label]})" for name, label in zip(names, rows, strict=True)]
    title = f"{card['method']}, {card['ipc']} stored images a class"
    return _captioned(sheet(classes), labels, (title, "class (training images)"), family)


def _legible(classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of classes as a picture can show them, and the fonts for that."""
    names = [shortened(spoken(name)) for name in classes]
    family = fonts.families(names)
    return [shortened(fonts.drawable(name, family)) for name in names], family


def draw_steps(looks: Sequence[Snapshot], card: dict[str, Any]) -> bytes:
    """The images along the steps as an animated GIF, the rows as in `draw_images`.

    Args:
      looks: at least one, in order.
      card: of the run.
    """
    frames = []
    for look in looks:
        rows = list(dict.fromkeys(look.labels.tolist()))
        names, family = _legible([card["class_names"][label] for label in rows])
        drawn = sheet([look.images[look.labels == label] for label in rows])
        title = (f"{card['method']}, {card['ipc']} stored images a class", f"step {look.step}")
        frames.append(Image.open(io.BytesIO(_captioned(drawn, names, title, family))))
    size = max(one.width for one in frames), max(one.height for one in frames)
    first, *others = (_on_white(one, size).quantize(256) for one in frames)
    buffer, times = io.BytesIO(), [*[FRAME] * len(others), 3 * FRAME]
    first.save(buffer, format="gif", save_all=True, append_images=others, duration=times, loop=0)
    return buffer.getvalue()


def _on_white(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    ground = Image.new("RGB", size, "white")
    ground.paste(image.convert("RGB"), (0, 0))
    return ground


def enlargement(images: np.ndarray) -> int:
    """By how much images `[n, H, W, ch]` are magnified where people look at them, at least 1."""
    return max(1, round(SIDE / max(images.shape[1:3])))


def sheet(rows: Sequence[np.ndarray], scale: int | None = None) -> np.ndarray:
    """Outlined images on white, uint8 `[height, width, 3]`.

    Args:
      rows: the images `[n, H, W, ch]` of each, uint8 or floats in [0, 1]; n may differ.
      scale: by which they are magnified, a whole number; `enlargement` when left out.
    """
    scale = scale or enlargement(rows[0])
    height, width = (scale * side + 2 for side in rows[0].shape[1:3])
    columns = max(map(len, rows))
    shape = len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3
    drawn = np.full(shape, 255, np.uint8)
    for row, images in enumerate(rows):
        for column, one in enumerate(as_pixels(images)):
            top, left = row * (height + GAP), column * (width + GAP)
            place = drawn[top : top + height, left : left + width]
            place[...] = OUTLINE
            place[1:-1, 1:-1] = one.repeat(scale, 0).repeat(scale, 1)
    return drawn


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Images `[n, H, W, ch]`, uint8 or floats in [0, 1], as uint8."""
    if images.dtype == np.uint8:
        return images
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _captioned(
    drawn: np.ndarray, labels: Sequence[str], title: Sequence[str], family: list[str]
) -> bytes:
    """A PNG of an array of pixels as they are, lines above it and a label left of each row.

    Args:
      drawn: uint8 `[height, width, 3]`.
      labels: one for each of as many rows of equal height.
      title: lines, the first of them larger; centred.
      family: fonts that have their glyphs.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.transforms import IdentityTransform

    with matplotlib.rc_context(RC | {"font.family": family}), _without_shaping():
        figure = Figure(dpi=DPI)
        renderer = FigureCanvasAgg(figure).get_renderer()
        pixels = IdentityTransform()
        beside = [
            figure.text(0, 0, one, ha="right", va="center", transform=pixels) for one in labels
        ]
        above = [
            figure.text(0, 0, one, ha="center", va="top", transform=pixels, fontsize=size)
            for one, size in zip(title, (11, 9), strict=False)
        ]
        widths = [[text.get_window_extent(renderer).width for text in some]
                  for some in (beside, above)]  # fmt: skip
        left = int(np.ceil(max(widths[0]))) + 8
        head = MARGIN + 20 * len(title)
        wide = int(max(left + drawn.shape[1], *np.ceil(widths[1]))) + 2 * MARGIN
        high = head + drawn.shape[0] + MARGIN
        first = (wide - left - drawn.shape[1]) // 2 + left  # all of it is centred
        each = (drawn.shape[0] + GAP) / len(labels)
        for number, text in enumerate(beside):
            middle = head + (number + 0.5) * each - GAP / 2
            text.set_position((first - 8, high - middle))
        for number, text in enumerate(above):
            text.set_position((wide / 2, high - MARGIN / 2 - 20 * number))
        figure.figimage(drawn, first, MARGIN, origin="upper")
        figure.set_size_inches((wide + 0.01) / DPI, (high + 0.01) / DPI)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def spaced(count: int, most: int) -> np.ndarray:
    """`0 .. count - 1`, or at most `most` of them, evenly spaced, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def draw_curves(history: History, card: dict[str, Any]) -> bytes:
    """Loss with its terms over the steps and test accuracy over the epochs, as a PNG."""
    with canvas(10, 3.6, columns=2) as (figure, (left, right)):
        terms = loss_terms(history, card)
        _lines(left, terms)
        if terms:
            left.legend()
        left.set(xlabel="distillation step", title=f"{card['method']}: loss and its terms")
        networks = list(card.get("accuracies", {}).items())
        for number, (network, results) in enumerate(networks):
            style = palette.of_method(card["method"])
            dash = style.dash if len(networks) == 1 else palette.plain(number).dash
            several = "s" if len(results) > 1 else ""
            for one in results:
                epochs, _, accuracy = (np.array(x) for x in zip(*one["history"], strict=True))
                label = f"{network}, {len(results)} network{several}" if one is results[0] else None
                _line(right, epochs, accuracy, style.colour, dash, label)
        if networks:
            right.legend()
        right.set(xlabel="evaluation epoch", ylabel="test accuracy, %", title="fresh networks")
        return picture(figure)


def loss_terms(history: History, card: dict[str, Any]) -> list[Curve]:
    """The loss and what it consists of, running means over a fiftieth of the run.

    Matching and calibration as they are weighted in the loss, where the card has the weights; a
    term without weight is left out.
    """
    if "loss" not in history.scalars:
        return []
    own = palette.of_method(card.get("method", ""))
    lines: list[Curve] = [("loss", *history.smoothed("loss"), own)]
    config = flatten(card.get("config", {})) | card.get("settled", {})
    weights = {"matching": "distill.loss_scale", "calibration": "distill.calibration"}
    if not (weights.keys() <= history.scalars.keys() and set(weights.values()) <= config.keys()):
        return lines
    for number, (name, weight) in enumerate(weights.items(), 1):
        if config[weight]:
            steps, values = history.smoothed(name)
            lines.append((name, steps, config[weight] * values, palette.plain(number)))
    return lines


def curves(name: str, lines: Sequence[Curve], *, x: str, y: str, logarithmic: bool = False) -> str:
    """Lines over a common axis, as an SVG.

    Args:
      name: unique on the page.
      lines: label, x, y and style of each.
      x: label of the axis.
      y: likewise.
      logarithmic: whether y is drawn in powers of ten where it spans one.
    """
    shown = np.concatenate([values for _, _, values, _ in lines])
    with _drawing(3.0) as (figure, axes):
        _lines(axes, lines)
        if logarithmic and _wide(shown):
            axes.set_yscale("log")
            _plain_ticks(axes.yaxis)
        axes.set(xlabel=x, ylabel=y)
        _legend_above(axes)
        return _svg(figure, name)


def _lines(axes: Any, lines: Sequence[Curve]) -> None:
    for label, x, y, style in lines:
        _line(axes, x, y, style.colour, style.dash, label)


def _line(axes: Any, x: Any, y: Any, colour: str, dash: Any, label: str | None) -> None:
    mark = "o" if len(x) < 2 else None
    axes.plot(x, y, color=colour, label=label, linewidth=1.6, linestyle=dash, marker=mark)


def _percents(axis: Any) -> None:
    """No tick beyond what an accuracy can be."""
    low, high = axis.get_view_interval()
    axis.set_ticks([one for one in axis.get_majorticklocs() if max(low, 0) <= one <= 100])
    axis.set_view_interval(low, high, ignore=True)


def _wide(values: np.ndarray) -> bool:
    """Whether positive values span so much that powers of ten suit them."""
    return bool(values.size and values.min() > 0 and values.max() > 5 * values.min())


def _plain_ticks(axis: Any) -> None:
    """Labels of a logarithmic axis without TeX, and not too many of them."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def by_class(name: str, values: dict[str, np.ndarray], names: Sequence[str], *, x: str) -> str:
    """A percentage per class for several methods, head to tail from the top or the left, as an SVG.

    Args:
      name: unique on the page.
      values: `[C]` for each method, NaN where there is none.
      names: C names of the classes, in the same order.
      x: what the numbers are.
    """
    if len(names) > NAMED:
        return _by_rank(name, values, y=x)
    with _drawing(0.9 + 0.26 * len(names)) as (figure, axes):
        rows = np.arange(len(names))
        for label, series in values.items():
            style = palette.of_method(label)
            axes.plot(
                series,
                rows,
                style.marker,
                color=style.colour,
                label=label,
                markersize=5.5,
                alpha=0.9,
            )
        _class_ticks(axes, names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        _percents(axes.xaxis)
        axes.set(xlabel=x)
        _legend_above(axes)
        return _svg(figure, name)


def _by_rank(name: str, values: dict[str, np.ndarray], *, y: str) -> str:
    """A dot for each of many classes."""
    with _drawing(3.0) as (figure, axes):
        for label, series in values.items():
            ranks, style = np.arange(1, len(series) + 1), palette.of_method(label)
            axes.plot(ranks, series, style.marker, color=style.colour, label=label, markersize=3)
        _percents(axes.yaxis)
        axes.set(xlabel="class, head to tail", ylabel=y)
        _legend_above(axes)
        return _svg(figure, name)


def _class_ticks(axes: Any, names: Sequence[str]) -> None:
    if len(names) > NAMED:
        axes.set(ylabel="class, head to tail")
        return
    axes.set_yticks(np.arange(len(names)), [shortened(one) for one in names])


def shortened(text: str, most: int = 24) -> str:
    """The text, or as much of it as has room beside a figure, without what cannot be drawn."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _legend_above(axes: Any) -> None:
    """A legend over the whole width of the figure, in as many lines as its names need."""
    handles, labels = axes.get_legend_handles_labels()
    fitting = LETTERS // (max(map(len, labels)) + 5)
    axes.figure.legend(
        handles, labels, loc="outside upper left", ncols=max(1, min(fitting, len(labels))),
        borderaxespad=0.2, handletextpad=0.3, columnspacing=1.2,
    )  # fmt: skip


def groups(
    name: str,
    values: dict[str, dict[str, float]],
    intervals: dict[str, dict[str, Sequence[float]]],
) -> str:
    """Accuracies of groups of classes for several methods, as an SVG of bars.

    Args:
      name: unique on the page.
      values: mean of each group, by method.
      intervals: (low, high) of those groups that have one, by method; drawn as a line.
    """
    with _drawing(3.0) as (figure, axes):
        bars(axes, values, intervals)
        _legend_above(axes)
        return _svg(figure, name)


def bars(
    axes: Any,
    values: dict[str, dict[str, float]],
    intervals: dict[str, dict[str, Sequence[float]]],
) -> None:
    """The bars of `groups` on any axes."""
    labels = list(dict.fromkeys(group for series in values.values() for group in series))
    width = 0.8 / len(values)
    for number, (label, series) in enumerate(values.items()):
        places = np.arange(len(labels)) + (number - (len(values) - 1) / 2) * width
        heights = [series.get(group, np.nan) for group in labels]
        style = palette.of_method(label)
        axes.bar(places, heights, 0.92 * width, color=style.colour, label=label, hatch=style.hatch)
        for place, height, group in zip(places, heights, labels, strict=True):
            low, high = intervals.get(label, {}).get(group) or (height, height)
            if high > low:
                for colour, thick in ((PAPER, 3.2), (INK, 1.2)):  # seen on any bar
                    axes.plot([place, place], [low, high], color=colour, linewidth=thick)
            if np.isfinite(height):
                axes.annotate(
                    f"{height:.0f}", (place, high), (0, 1), textcoords="offset points",
                    ha="center", va="bottom", fontsize=9,
                )  # fmt: skip
    axes.set_xticks(np.arange(len(labels)), labels)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    _percents(axes.yaxis)
    axes.set(ylabel="test accuracy, %")


def ranking(name: str, values: dict[str, float], intervals: dict[str, Sequence[float]]) -> str:
    """Accuracies of methods with their intervals, the first on top, as an SVG.

    Args:
      name: unique on the page.
      values: of each method.
      intervals: (low, high) of those that have one.
    """
    with _drawing(ranking_height(values)) as (figure, axes):
        ranked(axes, values, intervals)
        return _svg(figure, name)


def ranking_height(values: dict[str, float]) -> float:
    """Inches for so many methods."""
    return 0.8 + 0.28 * len(values)


def ranked(axes: Any, values: dict[str, float], intervals: dict[str, Sequence[float]]) -> None:
    """The points of `ranking` on any axes."""
    for place, (method, value) in enumerate(values.items()):
        style = palette.of_method(method)
        ends = intervals.get(method, (value, value))
        axes.plot(ends, [place, place], color=style.colour, linewidth=2.0)
        axes.plot([value], [place], style.marker, color=style.colour, markersize=6)
    axes.set_yticks(range(len(values)), [shortened(method) for method in values])
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    _percents(axes.xaxis)
    axes.set(xlabel="test accuracy, %")


def heat(name: str, values: np.ndarray, names: Sequence[str], *, steps: int, label: str) -> str:
    """A positive number over steps and classes, head to tail from the top, as an SVG.

    Args:
      name: unique on the page.
      values: `[bins, C]`, NaN where there is none.
      names: C names of the classes.
      steps: of the whole run.
      label: what the numbers are.
    """
    from matplotlib.colors import LogNorm, Normalize

    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (0.0, 1.0)
    wide = _wide(positive)
    with _drawing(4.5 if len(names) > NAMED else 1.1 + 0.22 * len(names)) as (figure, axes):
        shown = axes.imshow(
            np.maximum(values, low).T, aspect="auto", cmap="cividis", interpolation="none",
            norm=(LogNorm if wide else Normalize)(low, high),
            extent=(0, steps, len(names) - 0.5, -0.5),
        )  # fmt: skip
        _bare(axes)
        _class_ticks(axes, names)
        axes.set(xlabel="distillation step")
        bar = figure.colorbar(shown, ax=axes, label=label, pad=0.03)
        if wide:
            _plain_ticks(bar.ax.yaxis)
        bar.outline.set_visible(False)
        return _svg(figure, name)


def _bare(axes: Any) -> None:
    """Axes around an image: its pixels alone, no lines on them."""
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def spectrum(
    name: str, one: dict[str, Any], *, radii: Sequence[float], median: float, modulus: bool
) -> str:
    """A class's characteristic functions along the rays, real solid and synthetic dashed.

    The phase is drawn up to where the modulus falls below `FAINT`: there it is noise.

    Args:
      name: unique on the page.
      one: an entry of `classes` of `csdm_jax.reporting.spectra.measure`.
      radii: `[r]`.
      median: length of a frequency as the distance draws it, marked by a line.
      modulus: draw the absolute value instead of the phase.
    """
    with _drawing(2.8) as (figure, axes):
        for number, ray in enumerate(one["rays"]):
            for side, style in (("real", "-"), ("synthetic", "--")):
                values = np.array(ray[side]["re"]) + 1j * np.array(ray[side]["im"])
                shown = abs(values) if modulus else _phase(values)
                label = side if number == 0 else None
                colour = palette.numbered(number).colour
                axes.plot(radii, shown, style, color=colour, label=label, linewidth=1.6)
        axes.axvline(median, color=INK, linewidth=0.8, linestyle=":")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set(xlabel="frequency, length r", ylabel="|Φ|" if modulus else "phase of Φ, radians")
        _legend_above(axes)
        return _svg(figure, name)


def _phase(values: np.ndarray) -> np.ndarray:
    """Phases `[r]` without jumps, from the frequency 0 on; NaN from where they are noise."""
    noise = np.cumsum(abs(values) < FAINT) > 0
    return np.where(noise, np.nan, np.unwrap(np.angle(values)))


def png(image: np.ndarray) -> bytes:
    """An image `[H, W, ch]`, uint8 or floats in [0, 1], ch 1 or 3, as the bytes of a PNG file."""
    (pixels,) = as_pixels(image[None])
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        buffer, format="png", optimize=True
    )
    return buffer.getvalue()
