"""The loss over a rising learning rate."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLORS, legend, new_figure


def lr_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
    alike: tuple[float, float] | None = None,
) -> Figure:
    """Draw a learning-rate range test.

    Args:
        rates: learning rate of each step, rising
        losses: training loss of each step
        smoothed: the same without its noise
        suggestion: the rate to mark; None marks none
        alike: least and greatest of the rates that are as good as the curve can tell; None shades none

    Returns:
        a figure with one axes, the rate on a logarithmic scale
    """
    figure, grid = new_figure(7, 4.5)
    axes = grid[0, 0]
    # what follows on divergence would hide the fall: it is drawn at the upper edge
    start, lowest = smoothed[0], min(smoothed)
    room = max(start - lowest, 1e-3)
    # a loss is never far below 0, so that the lowest one leaves the fall in sight
    bottom, top = min(lowest - 0.3 * room, min(losses) - 0.05 * room), start + 1.5 * room
    above = np.asarray(losses) > top
    x, y = np.asarray(rates), np.minimum(losses, top)
    axes.plot(x[~above], y[~above], ".", color=COLORS[0], alpha=0.35, label="each step")
    if above.any():
        options = {"color": COLORS[0], "alpha": 0.6, "markersize": 5, "clip_on": False}
        axes.plot(x[above], y[above], "^", label=f"above {top:.3g} ({above.sum()})", **options)
    axes.plot(rates, smoothed, color=COLORS[1], label="smoothed")
    if alike is not None:
        axes.axvspan(*alike, color=COLORS[2], alpha=0.15, linewidth=0, label="as good, as far as the curve tells")
    if suggestion is not None:
        axes.axvline(suggestion, color="black", linestyle="--", label=f"suggested: {suggestion:.2g}")
    axes.set_xscale("log")
    axes.set_ylim(bottom, top)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    legend(axes)
    return figure
