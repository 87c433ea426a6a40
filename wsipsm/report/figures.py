"""Plots as pictures. Names stand in the page's text, never in a plot: no name can harm one."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wsipsm.report.pictures import Colours, Picture, colour_of, data_uri
from wsipsm.types import CLASS_COLOURS

DPI = 130
INK, FAINT, LINE, WARNING = "#333b44", "#b9c4cf", "#1f5f8b", "#8a3b00"
BINS = 48
SMOOTH_SHARE = 20
"""The bold curve is a mean over this part of a training."""


def training_curve(curve: Sequence[dict[str, float]]) -> Picture:
    """Loss by step, each step faint and their running mean bold."""
    figure, (axes,) = _figure(1, width=5.2)
    steps = np.array([point["step"] for point in curve])
    losses = np.array([point["loss"] for point in curve])
    width = max(1, len(losses) // SMOOTH_SHARE)
    means = np.convolve(losses, np.full(width, 1 / width), mode="valid")
    axes.plot(steps, losses, color=FAINT, linewidth=1)
    axes.plot(steps[width - 1 :], means, color=LINE, linewidth=2)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    return _picture(figure)


def histograms(
    area_um2: NDArray[np.float32],
    haematoxylin: NDArray[np.float32],
    classes: NDArray[np.int64],
    colours: Colours = CLASS_COLOURS,
) -> Picture:
    """Distributions of cell area and haematoxylin density, a curve for each class."""
    figure, (left, right) = _figure(2, width=8.4)
    _histogram(left, area_um2, classes, colours)
    _histogram(right, haematoxylin, classes, colours)
    left.set_xlabel("cell area (µm²)")
    right.set_xlabel("haematoxylin, mean optical density")
    left.set_ylabel("cells")
    return _picture(figure)


def spread(rows: Mapping[str, Sequence[float | None]], standing_out: Sequence[set[int]]) -> Picture:
    """A row of dots for each figure of quality, a dot a slide; those that stand out are dark.

    Parameters
    ----------
    rows
        For each figure, by its title, the value of each slide.
    standing_out
        For each figure, the places of the slides that stand out.
    """
    figure, axes = _figure(len(rows), width=8.4, height=0.3 + 0.45 * len(rows), down=True)
    for each, (title, row), bold in zip(axes, rows.items(), standing_out, strict=True):
        known = [(i, value) for i, value in enumerate(row) if value is not None]
        for far, colour, size in ((False, LINE, 4), (True, WARNING, 7)):
            dots = [value for i, value in known if (i in bold) == far]
            each.plot(dots, [0] * len(dots), "o", color=colour, markersize=size, alpha=0.6)
        each.set_ylabel(title, rotation=0, ha="right", va="center")
        each.set_yticks([])
        each.grid(visible=False)
    return _picture(figure)


def _histogram(
    axes: Axes, values: NDArray[np.float32], classes: NDArray[np.int64], colours: Colours
) -> None:
    finite = np.isfinite(values)
    values, classes = values[finite].astype(np.float64), classes[finite]
    high = float(np.percentile(values, 99.5)) if len(values) else 1.0
    edges = np.linspace(0, max(high, 1e-3), BINS + 1)
    for number in np.unique(classes):
        counts, _ = np.histogram(np.minimum(values[classes == number], edges[-1]), edges)
        colour = tuple(part / 255 for part in colour_of(int(number), colours))
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(counts, edges, color=colour, linewidth=1.5)
    axes.set_xlim(0, edges[-1])


def _figure(
    count: int, *, width: float, height: float = 2.6, down: bool = False
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    rows, cols = (count, 1) if down else (1, count)
    axes = [figure.add_subplot(rows, cols, i + 1) for i in range(count)]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(FAINT)
        each.tick_params(colors=INK, labelsize=8)
        each.xaxis.label.set(color=INK, fontsize=9)
        each.yaxis.label.set(color=INK, fontsize=9)
        each.grid(axis="y", color=FAINT, alpha=0.4, linewidth=0.6)
        each.set_axisbelow(True)
    return figure, axes


def _picture(figure: Figure) -> Picture:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    width, height = (round(side * DPI) for side in figure.get_size_inches())
    return Picture(data_uri(stream.getvalue(), "png"), width, height)
