"""A metric against each option in which runs differ."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLORS, new_figure, shortened

NAME_LIMIT = 30


def metric_by_option(
    options: Mapping[str, Mapping[str, Sequence[float]]], label: str = "accuracy", limit: int = 12
) -> Figure:
    """Draw a panel for each option, with a row for each of its values: a dot a run, and a bar at their mean.

    Args:
        options: by option, by its value: the metric of the runs that have it
        label: of the metric
        limit: values of an option that are drawn; the last ones are left out beyond

    Returns:
        a figure with an axes for each option, one below the other
    """
    shown = {name: dict(list(values.items())[:limit]) for name, values in options.items()}
    heights = [max(1.0, 0.28 * len(values) + 0.7) for values in shown.values()]
    figure, _ = new_figure(8, sum(heights) + 0.4)
    figure.clear()
    panels = figure.subplots(len(shown), 1, squeeze=False, sharex=True, height_ratios=heights)
    for axes, (name, values) in zip(panels[:, 0], shown.items(), strict=True):
        for place, found in enumerate(values.values()):
            axes.plot(found, np.full(len(found), place), "o", color=COLORS[5], markeredgecolor=COLORS[0], alpha=0.8)
            axes.plot(np.mean(found), place, "|", color="black", markersize=16, markeredgewidth=2)
        names = [f"{shortened(value, NAME_LIMIT)} ({len(found)})" for value, found in values.items()]
        axes.set_yticks(np.arange(len(values)), names, fontsize="small", parse_math=False)
        axes.set_ylim(len(values) - 0.4, -0.6)
        left = len(options[name]) - len(values)
        more = f", {left} more values" if left else ""
        axes.set_title(f"{name}{more}", fontsize="medium", loc="left", parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
    panels[-1, 0].set_xlabel(f"{label}: a dot a run, a bar at their mean (in brackets: runs)")
    return figure
