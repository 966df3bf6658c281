"""The figures of a report: PNG files, and SVG whose colours a page chooses.

Colours in an SVG are CSS variables (`--ink`, `--grid`, `--series-1`, ...), so that one drawing can
be read on a light and on a dark page; text stays text, in the page's font.
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

from csdm_jax.data.longtail import head_to_tail
from csdm_jax.reporting.history import History
from csdm_jax.runtime.text import printable
from csdm_jax.sets.distilled import DistilledSet

SERIES = ("#1f5fa8", "#c2571a", "#1b8a6b", "#8a4fa3", "#a08000", "#6b6b6b")
INK, GRID = "#1c1c1a", "#e4e3df"
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
NAMED = 40  # classes up to which each has its name in a figure
CLASSES, COLUMNS = 100, 20  # rows and columns of images.png: a picture has at most 2^16 pixels
THUMBNAIL = 64  # pixels
FAINT = 0.1

Curve = tuple[str, np.ndarray, np.ndarray]
"""Label, x `[n]`, y `[n]`."""


@contextlib.contextmanager
def canvas(
    width: float, height: float, columns: int = 1, layout: Literal["constrained"] | None = None
) -> Iterator[tuple[Any, Any]]:
    """A figure in inches and its axes, in this module's style."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC), warnings.catch_warnings():
        # A browser has the glyphs that Matplotlib's font lacks; a PNG shows a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure, figure.subplots(1, columns)


def _drawing(height: float) -> contextlib.AbstractContextManager[tuple[Any, Any]]:
    """A figure of `WIDTH`, long labels and all: text has one size in all of them."""
    return canvas(WIDTH, height, layout="constrained")


def picture(figure: Any, kind: str = "png") -> bytes:
    """A figure as the bytes of a PNG or SVG file, the same in every run."""
    import matplotlib

    buffer, undated = io.BytesIO(), {"Date": None} if kind == "svg" else None
    with matplotlib.rc_context(RC):
        figure.savefig(buffer, format=kind, dpi=110, bbox_inches="tight", metadata=undated)
    return buffer.getvalue()


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
    variables = {INK: "--ink", GRID: "--grid"}
    variables |= {colour: f"--series-{number}" for number, colour in enumerate(SERIES, 1)}
    for colour, variable in variables.items():
        text = text.replace(colour, f"var({variable})")
    return text


def _colour(number: int) -> str:
    return SERIES[number % len(SERIES)]


def draw_images(result: DistilledSet, card: dict[str, Any]) -> bytes:
    """The stored images (decoded, where no images are stored): a PNG, a row per class.

    The largest class is at the top. At most `COLUMNS` images a class, and `CLASSES` classes,
    evenly spaced.
    """
    num_classes, ipc = result.num_classes, card["ipc"]
    images, counts = result.images, card["data"]["counts"]
    height, width, channels = images.shape[1:]
    rows = head_to_tail(counts)[spaced(num_classes, CLASSES)]
    columns = min(len(images) // num_classes, COLUMNS)
    grid = images.reshape(num_classes, -1, height, width, channels)[rows, :columns]
    framed = np.pad(grid, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    sheet = framed.swapaxes(1, 2).reshape(len(rows) * (height + 2), columns * (width + 2), -1)
    with canvas(1.6 + 0.7 * columns, 0.7 * len(rows) + 0.6) as (figure, axes):
        axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        names = [f"{shortened(card['class_names'][c])} ({counts[c]})" for c in rows]
        axes.set_yticks((np.arange(len(rows)) + 0.5) * (height + 2), names)
        axes.set_xticks([])
        axes.set_title(f"{card['method']}, IPC {ipc}: class (training images)")
        _bare(axes)
        return picture(figure)


def spaced(count: int, most: int) -> np.ndarray:
    """`0 .. count - 1`, or at most `most` of them, evenly spaced, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def draw_curves(history: History, card: dict[str, Any]) -> bytes:
    """Loss over the steps and test accuracy over the evaluation's epochs, as a PNG."""
    with canvas(10, 3.6, columns=2) as (figure, (left, right)):
        names = [name for name in ("loss", "calibration") if name in history.scalars]
        _lines(left, [(name, *history.smoothed(name)) for name in names])
        if names:
            left.legend()
        left.set(xlabel="distillation step", title=f"{card['method']}: loss")
        curves = []
        for network, results in card.get("accuracies", {}).items():
            for number, one in enumerate(results):
                epochs, _, accuracy = (np.array(x) for x in zip(*one["history"], strict=True))
                curves.append((f"{network} {number}", epochs, accuracy))
        _lines(right, curves)
        if curves:
            right.legend()
        right.set(xlabel="evaluation epoch", ylabel="test accuracy, %", title="fresh networks")
        return picture(figure)


def curves(name: str, lines: Sequence[Curve], *, x: str, y: str, logarithmic: bool = False) -> str:
    """Lines over a common axis, as an SVG.

    Args:
      name: unique on the page.
      lines: label, x and y of each.
      x: label of the axis.
      y: likewise.
      logarithmic: whether y is drawn in powers of ten where it spans one.
    """
    shown = np.concatenate([values for _, _, values in lines])
    with _drawing(3.0) as (figure, axes):
        _lines(axes, lines)
        if logarithmic and _wide(shown):
            axes.set_yscale("log")
            _plain_ticks(axes.yaxis)
        axes.set(xlabel=x, ylabel=y)
        _legend_above(axes, len(lines))
        return _svg(figure, name)


def _lines(axes: Any, lines: Sequence[Curve]) -> None:
    for number, (label, x, y) in enumerate(lines):
        mark = "o" if len(x) < 2 else None
        axes.plot(x, y, color=_colour(number), label=label, linewidth=1.6, marker=mark)


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
    """A number per class for several series, head to tail from the top or the left, as an SVG.

    Args:
      name: unique on the page.
      values: `[C]` for each series, NaN where there is none.
      names: C names of the classes, in the same order.
      x: what the numbers are.
    """
    if len(names) > NAMED:
        return _by_rank(name, values, y=x)
    with _drawing(0.9 + 0.26 * len(names)) as (figure, axes):
        rows = np.arange(len(names))
        for number, (label, series) in enumerate(values.items()):
            mark = "oDs^vP"[number % 6]
            axes.plot(series, rows, mark, color=_colour(number), label=label, markersize=5.5)
        _class_ticks(axes, names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set(xlabel=x)
        _legend_above(axes, len(values))
        return _svg(figure, name)


def _by_rank(name: str, values: dict[str, np.ndarray], *, y: str) -> str:
    """A dot for each of many classes."""
    with _drawing(3.0) as (figure, axes):
        for number, (label, series) in enumerate(values.items()):
            ranks = np.arange(1, len(series) + 1)
            axes.plot(ranks, series, ".", color=_colour(number), label=label, markersize=4)
        axes.set(xlabel="class, head to tail", ylabel=y)
        _legend_above(axes, len(values))
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


def _legend_above(axes: Any, entries: int) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=min(entries, 4), borderaxespad=0.2,
        handletextpad=0.3, columnspacing=1.2,
    )  # fmt: skip


def groups(name: str, values: dict[str, dict[str, float]]) -> str:
    """Accuracies of the many, medium and few classes for several methods, as an SVG of bars."""
    with _drawing(3.0) as (figure, axes):
        labels = list(dict.fromkeys(group for series in values.values() for group in series))
        width = 0.8 / len(values)
        for number, (label, series) in enumerate(values.items()):
            places = np.arange(len(labels)) + (number - (len(values) - 1) / 2) * width
            heights = [series.get(group, np.nan) for group in labels]
            bars = axes.bar(places, heights, 0.92 * width, color=_colour(number), label=label)
            axes.bar_label(bars, fmt="%.0f", fontsize=9, padding=1)
        axes.set_xticks(np.arange(len(labels)), labels)
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.12)
        axes.set(ylabel="test accuracy, %")
        _legend_above(axes, len(values))
        return _svg(figure, name)


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
                axes.plot(radii, shown, style, color=_colour(number), label=label, linewidth=1.6)
        axes.axvline(median, color=INK, linewidth=0.8, linestyle=":")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set(xlabel="frequency, length r", ylabel="|Φ|" if modulus else "phase of Φ, radians")
        _legend_above(axes, 2)
        return _svg(figure, name)


def _phase(values: np.ndarray) -> np.ndarray:
    """Phases `[r]` without jumps, from the frequency 0 on; NaN from where they are noise."""
    noise = np.cumsum(abs(values) < FAINT) > 0
    return np.where(noise, np.nan, np.unwrap(np.angle(values)))


def strip(images: np.ndarray) -> bytes:
    """Images side by side as a PNG with clear gaps, none larger than `THUMBNAIL` pixels.

    Args:
      images: `[n, H, W, ch]`, uint8 or floats in [0, 1], ch 1 or 3.
    """
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
    pictures = [Image.fromarray(one.squeeze(-1) if one.shape[-1] == 1 else one) for one in images]
    for picture in pictures:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    width, height = pictures[0].size
    gap = max(1, width // 8)
    canvas = Image.new("RGBA", ((width + gap) * len(pictures) - gap, height), (0, 0, 0, 0))
    for number, picture in enumerate(pictures):
        canvas.paste(picture.convert("RGBA"), (number * (width + gap), 0))
    buffer = io.BytesIO()
    canvas.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
