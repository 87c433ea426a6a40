"""Plots as pictures. Names stand in the page's text, never in a plot: no name can harm one."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wsipsm.report.pictures import Picture, colour_of, data_uri

DPI = 130
INK, FAINT, LINE = "#333b44", "#b9c4cf", "#1f5f8b"
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
    area_um2: NDArray[np.float32], haematoxylin: NDArray[np.float32], classes: NDArray[np.int64]
) -> Picture:
    """Distributions of cell area and haematoxylin density, a curve for each class."""
    figure, (left, right) = _figure(2, width=8.4)
    _histogram(left, area_um2, classes, label="cell area (µm²)")
    _histogram(right, haematoxylin, classes, label="haematoxylin, mean optical density")
    left.set_ylabel("cells")
    return _picture(figure)


def _histogram(
    axes: Axes, values: NDArray[np.float32], classes: NDArray[np.int64], *, label: str
) -> None:
    finite = np.isfinite(values)
    values, classes = values[finite].astype(np.float64), classes[finite]
    high = float(np.percentile(values, 99.5)) if len(values) else 1.0
    edges = np.linspace(0, max(high, 1e-3), BINS + 1)
    for number in np.unique(classes):
        counts, _ = np.histogram(np.minimum(values[classes == number], edges[-1]), edges)
        colour = tuple(part / 255 for part in colour_of(int(number)))
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(counts, edges, color=colour, linewidth=1.5)
    axes.set_xlabel(label)
    axes.set_xlim(0, edges[-1])


def _figure(count: int, *, width: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, 2.6), dpi=DPI, layout="constrained")
    axes = [figure.add_subplot(1, count, i + 1) for i in range(count)]
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
