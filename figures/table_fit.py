"""What a model of a table has learned: a fitted line, a decision boundary, predicted against true numbers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import COLORS, MARKERS, legend, line, new_figure, shortened

Floats = NDArray[np.float64]
# points that are drawn of many; the rest would only cover them
SHOWN_POINTS = 2000


def some_of(count: int) -> NDArray[np.int64]:
    """Return which points are drawn of many, always the same ones."""
    if count <= SHOWN_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:SHOWN_POINTS])


def fitted_line(x: Floats, y: Floats, grid: Floats, fitted: Floats, names: tuple[str, str], title: str) -> Figure:
    """Draw a predicted number over the only feature, with the samples.

    Args:
        x: feature of each sample, shape `(sample,)`
        y: true number of each sample, shape `(sample,)`
        grid: values of the feature, rising, shape `(point,)`
        fitted: what is predicted there, shape `(point,)`
        names: of the feature and of the target
        title: of the figure
    """
    figure, places = new_figure(7, 5)
    axes, rows = places[0, 0], some_of(len(x))
    axes.plot(x[rows], y[rows], ".", color=COLORS[0], alpha=0.35, label=points_label(len(rows), len(x)))
    axes.plot(grid, fitted, color=COLORS[1], linewidth=2, label="predicted")
    axes.set_xlabel(shortened(names[0]))
    axes.set_ylabel(shortened(names[1]))
    axes.set_title(title)
    legend(axes)
    return figure


def decision_boundary(
    x: Floats,
    y: Floats,
    labels: NDArray[np.int64],
    grid: tuple[Floats, Floats],
    predicted: NDArray[np.int64],
    names: tuple[str, str],
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """Draw which class is predicted where, over the only two features, with the samples.

    Args:
        x: first feature of each sample, shape `(sample,)`
        y: second feature of each sample, shape `(sample,)`
        labels: class of each sample, shape `(sample,)`
        grid: values of both features, rising, shape `(column,)` and `(row,)`
        predicted: class at each point, shape `(row, column)`
        names: of the features
        class_names: the name of each class
        title: of the figure
    """
    figure, places = new_figure(7, 5.5)
    axes, rows = places[0, 0], some_of(len(x))
    levels = np.arange(len(class_names) + 1) - 0.5
    colors = [line(number)["color"] for number in range(len(class_names))]
    axes.contourf(*grid, predicted, levels=levels, colors=colors, alpha=0.2)
    if len(np.unique(predicted)) > 1:
        axes.contour(*grid, predicted, levels=levels[1:-1], colors="black", linewidths=1)
    for number, name in enumerate(class_names):
        own = rows[labels[rows] == number]
        marker, label = MARKERS[number % len(MARKERS)], f"{shortened(name)} ({len(own):,})"
        axes.plot(x[own], y[own], marker, color=colors[number], markersize=3, alpha=0.7, label=label)
    axes.set_xlabel(shortened(names[0]))
    axes.set_ylabel(shortened(names[1]))
    axes.set_title(title)
    legend(axes)
    return figure


def predicted_values(true: Floats, predicted: Floats, target: str, title: str) -> Figure:
    """Draw predicted numbers over true ones.

    Args:
        true: shape `(sample,)`
        predicted: shape `(sample,)`
        target: its name
        title: of the figure
    """
    figure, places = new_figure(6, 5.5)
    axes, rows = places[0, 0], some_of(len(true))
    axes.plot(true[rows], predicted[rows], ".", color=COLORS[0], alpha=0.35, label=points_label(len(rows), len(true)))
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, "--", color="black", linewidth=1, label="without error")
    axes.set_xlabel(f"true {shortened(target)}")
    axes.set_ylabel(f"predicted {shortened(target)}")
    axes.set_title(title)
    legend(axes)
    return figure


def points_label(shown: int, count: int) -> str:
    """Say how many samples are drawn."""
    return f"{count:,} samples" if shown == count else f"{shown:,} of {count:,} samples"
