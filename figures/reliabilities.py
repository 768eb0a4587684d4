"""Reliability diagrams of several models side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLORS, NEUTRAL, new_figure, plain, shortened
from measures.reliability import Reliability


def reliabilities(found: Sequence[Reliability], names: Sequence[str]) -> Figure:
    """Draw accuracy against confidence for each model, with the share of samples in each bin below.

    Args:
        found: bins of each model
        names: of the models

    Returns:
        a figure with an axes for each model, two in a row
    """
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure, grid = new_figure(4.4 * columns, 3.9 * rows, rows, columns)
    for place in range(len(found), rows * columns):
        grid[divmod(place, columns)].set_axis_off()
    for place, (bins, name) in enumerate(zip(found, names, strict=True)):
        axes = grid[divmod(place, columns)]
        width = np.diff(bins.edges)
        share = bins.counts / max(1, bins.counts.sum())
        axes.bar(bins.edges[:-1], share, width, align="edge", color=NEUTRAL, alpha=0.35, label="share of samples")
        axes.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="confidence is accuracy")
        axes.plot(bins.confidence, bins.accuracy, "o-", color=COLORS[0], markersize=4, label="accuracy")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        plain([axes.set_title(f"{shortened(name, 40)}\nECE {bins.ece:.4f}", fontsize="small")])
        axes.set_xlabel("confidence", fontsize="small")
    grid[0, 0].legend(loc="upper left", fontsize="x-small")
    return figure
