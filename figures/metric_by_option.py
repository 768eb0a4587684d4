"""A metric against each option in which runs differ."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLORS, plain, shortened, tidy

NAME_LIMIT = 30


def metric_by_option(
    options: Mapping[str, Mapping[str, Sequence[float]]], label: str = "accuracy", limit: int = 12
) -> Figure:
    """Draw a panel for each option, with a row for each of its values: a dot a run, and a bar at their mean.

    Of an option with many values only numbers are drawn, on an axis of their own.

    Args:
        options: by option, by its value: the metric of the runs that have it
        label: of the metric
        limit: values of an option that have a row each

    Returns:
        a figure with an axes for each option, one below the other
    """
    heights = [3.0 if len(values) > limit else max(1.0, 0.28 * len(values) + 0.7) for values in options.values()]
    figure = Figure(figsize=(8, sum(heights) + 0.4), layout="constrained")
    panels = figure.subplots(len(options), 1, squeeze=False, sharex=True, height_ratios=heights)
    for axes, (name, values) in zip(panels[:, 0], options.items(), strict=True):
        tidy(axes)
        plain([axes.set_title(name, fontsize="medium", loc="left")])
        (scatter if len(values) > limit else in_rows)(axes, values)
    panels[-1, 0].set_xlabel(f"{label}: a dot a run, a bar at their mean (in brackets: runs)")
    return figure


def in_rows(axes: Axes, values: Mapping[str, Sequence[float]]) -> None:
    """Draw a row for each value."""
    for place, found in enumerate(values.values()):
        axes.plot(found, np.full(len(found), place), "o", color=COLORS[5], markeredgecolor=COLORS[0], alpha=0.8)
        axes.plot(np.mean(found), place, "|", color="black", markersize=16, markeredgewidth=2)
    names = [f"{shortened(value, NAME_LIMIT)} ({len(found)})" for value, found in values.items()]
    axes.set_yticks(np.arange(len(values)), names, fontsize="small", parse_math=False)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def scatter(axes: Axes, values: Mapping[str, Sequence[float]]) -> None:
    """Draw a dot for each run at its value, on a logarithmic axis if values span more than a factor of a hundred."""
    known = {number: found for value, found in values.items() if (number := as_number(value)) is not None}
    numbers = [number for number, found in known.items() for _ in found]
    axes.plot(
        [at for found in known.values() for at in found],
        numbers,
        "o",
        color=COLORS[5],
        markeredgecolor=COLORS[0],
        alpha=0.8,
    )
    if numbers and min(numbers) > 0 and max(numbers) > 100 * min(numbers):
        axes.set_yscale("log")
    axes.tick_params(axis="y", labelsize="small")


def as_number(text: str) -> float | None:
    """Read a number, or return None.

    Example:
        >>> as_number("1e-3"), as_number("adam")
        (0.001, None)
    """
    try:
        return float(text)
    except ValueError:
        return None
