"""A metric of several models, with intervals."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLORS, HATCHES, NEUTRAL, new_figure, shortened

# names of runs are longer than those of classes
NAME_LIMIT = 44


def accuracy_bars(
    names: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float | None],
    highs: Sequence[float | None],
    marked: Sequence[bool] | None = None,
    flagged: Sequence[bool] | None = None,
    label: str = "accuracy",
    floor: float | None = None,
) -> Figure:
    """Draw a bar and an interval for each model, the first on top.

    Where all values lie close together the axis begins above 0, and says so.

    Args:
        names: of the models
        values: of the metric
        lows: lower ends of the intervals; None where there is none
        highs: upper ends
        marked: which are the best
        flagged: which are not to be trusted, such as those with leakage
        label: of the metric
        floor: where the axis begins; None finds it

    Returns:
        a figure with one axes
    """
    marked = marked or [False] * len(names)
    flagged = flagged or [False] * len(names)
    figure, grid = new_figure(bars_width(names, NAME_LIMIT), max(1.8, 0.32 * len(names) + 1.1))
    axes = grid[0, 0]
    ends = [low if low is not None else value for low, value in zip(lows, values, strict=True)]
    tops = [high if high is not None else value for high, value in zip(highs, values, strict=True)]
    start = axis_start(min(ends, default=0.0), max(tops, default=1.0)) if floor is None else floor
    room = max(max(tops, default=1.0) - start, 1e-6)
    for place, (value, low, high) in enumerate(zip(values, lows, highs, strict=True)):
        color = NEUTRAL if flagged[place] else COLORS[0] if marked[place] else COLORS[5]
        hatch = HATCHES[1] if flagged[place] else ""
        axes.barh(place, value - start, 0.72, start, color=color, hatch=hatch, edgecolor="white", linewidth=0.5)
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color="black", linewidth=1.2, marker="|", markersize=6)
        text = f"{value:.4f}" + (" best" if marked[place] else "")
        axes.text(tops[place] + 0.015 * room, place, text, va="center", fontsize="small")
    axes.set_yticks(np.arange(len(names)), [shortened(name, NAME_LIMIT) for name in names], parse_math=False)
    axes.tick_params(axis="y", labelsize="small", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(start, start + 1.2 * room)
    interval = ", 95 % interval of one training" if any(low is not None for low in lows) else ""
    cut = f" (the axis begins at {start:.6g})" if start else ""
    axes.set_xlabel(f"{label}{interval}{cut}")
    axes.grid(visible=False, axis="y")
    return figure


def bars_width(names: Sequence[str], limit: int) -> float:
    """Return how wide a picture of bars must be for the names beside them: the narrower, the larger on a small screen.

    Args:
        names: of the bars
        limit: letters that are shown of a name

    Example:
        >>> bars_width(["mlp"], 44), bars_width(["a name that is longer than all that fits"], 44)
        (6.2, 8.0)
    """
    longest = min(max(map(len, names), default=0), limit)
    return min(max(6.2, 5.0 + 0.08 * longest), 8.0)


def axis_start(lowest: float, highest: float) -> float:
    """Choose where an axis begins: at 0, or at a round number if all values lie in a small part of it.

    Example:
        >>> axis_start(0.93, 0.98), axis_start(0.4, 0.9)
        (0.9, 0.0)
    """
    spread = highest - lowest
    if lowest <= 0 or spread <= 0 or lowest < 2 * spread:
        return 0.0
    step = 10.0 ** math.ceil(math.log10(spread))
    for fine in (step, step / 2, step / 5, step / 10):
        start = math.floor((lowest - 0.15 * spread) / fine) * fine
        if lowest - start < 1.5 * spread:
            return round(max(0.0, start), 10)
    return round(max(0.0, start), 10)
