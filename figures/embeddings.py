"""Embeddings: where a network puts the samples of each class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import COLORS, MARKERS, NEUTRAL, bar, legend, new_figure, shortened, whole_numbers

# above the first number of classes, only the largest have a colour and a marker of their own; then the most bars
SHOWN_CLASSES, SHOWN_BARS = 20, 40


def embedding_scatter(
    points: NDArray[np.floating], labels: NDArray, class_names: Sequence[str], title: str = "", axis: str = ""
) -> Figure:
    """Draw embeddings that were brought to two dimensions.

    Args:
        points: shape `(sample, 2)`
        labels: class of each sample, shape `(sample,)`
        class_names: the name of each class
        title: above the points
        axis: what the axes are called, such as PCA

    Returns:
        a figure with a colour and marker a class; of more than 20 classes the others are grey
    """
    figure, grid = new_figure(8.5, 6)
    axes = grid[0, 0]
    present, counts = np.unique(labels, return_counts=True)
    shown = sorted(present[np.argsort(-counts, kind="stable")][:SHOWN_CLASSES].tolist())
    size = float(np.clip(20_000 / max(1, len(points)), 8, 40))
    others = ~np.isin(labels, shown)
    if others.any():
        label = f"{len(present) - len(shown):,} other classes"
        axes.scatter(*points[others].T, s=size / 2, color=NEUTRAL, alpha=0.4, linewidths=0, label=label)
    for place, number in enumerate(shown):
        color, marker = COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]
        options = {"s": size, "color": color, "marker": marker, "alpha": 0.7, "linewidths": 0}
        axes.scatter(*points[labels == number].T, label=shortened(class_names[number]), **options)
    if axis:
        axes.set(xlabel=f"{axis} 1", ylabel=f"{axis} 2")
    axes.set_title(title, fontsize="medium", parse_math=False)
    legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.5)
    return figure


def explained_variance(ratios: NDArray[np.floating], title: str = "") -> Figure:
    """Draw how much of the embeddings' variance each principal component carries.

    Args:
        ratios: share of the variance, falling, shape `(component,)`
        title: above the bars

    Returns:
        a figure with a bar a component and the line of their sum
    """
    figure, grid = new_figure(7, 4)
    axes = grid[0, 0]
    places, total = np.arange(1, len(ratios) + 1), np.cumsum(ratios)
    axes.bar(places, ratios, label="each", **bar(0))
    axes.plot(places, total, "o-", color="black", markersize=3, label="together")
    if len(total) and total[-1] >= 0.9:
        needed = int(np.searchsorted(total, 0.9 - 1e-12)) + 1
        axes.axhline(0.9, color=NEUTRAL, linestyle="--", linewidth=1, label=f"90 %: {needed} components")
    axes.set(xlabel="principal component", ylabel="share of the variance", ylim=(0, 1.02))
    whole_numbers(axes.xaxis)
    axes.set_title(title, fontsize="medium", parse_math=False)
    legend(axes, loc="center right")
    return figure


def class_spread(spread: NDArray[np.floating], class_names: Sequence[str], title: str = "") -> Figure:
    """Draw how far the samples of each class lie from their mean, the widest class first.

    Args:
        spread: mean distance of each class; NaN for one without samples, shape `(class,)`
        class_names: the name of each class
        title: above the bars

    Returns:
        a figure with a bar a class; of more than 40 classes the 20 widest and 20 narrowest
    """
    present = np.flatnonzero(np.isfinite(spread))
    order = present[np.argsort(-np.asarray(spread)[present], kind="stable")]
    notes = []
    if len(order) > SHOWN_BARS:
        half = SHOWN_BARS // 2
        notes.append(f"the {half} widest and {half} narrowest of {len(order):,} classes")
        order = np.concatenate([order[:half], order[-half:]])
    figure, grid = new_figure(7, 1.4 + 0.28 * max(3, len(order)))
    axes = grid[0, 0]
    drawn = axes.barh(np.arange(len(order)), spread[order], 0.7, **bar(0))
    axes.bar_label(drawn, [f"{value:.3g}" for value in spread[order]], padding=3, fontsize="x-small")
    names = [shortened(class_names[number]) for number in order]
    axes.set_yticks(np.arange(len(order)), names, fontsize="small", parse_math=False)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("mean distance from the mean of the class")
    axes.set_title("\n".join(filter(None, [title, *notes])), fontsize="medium", parse_math=False)
    return figure
