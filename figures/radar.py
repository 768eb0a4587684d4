"""A few models over many metrics."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from figures.metric_heatmap import column_shares
from figures.style import legend, line, shortened

# the worst lies this far from the centre, so that its line can be followed
INNER = 0.25
# room for words at both sides, which the layout takes for shorter than they are, in inches
SIDES = 0.4


def radar(
    values: NDArray[np.float64], names: Sequence[str], metrics: Sequence[str], lower_is_better: Sequence[str] = ()
) -> Figure:
    """Draw a closed line for each model; on each spoke the best of these models lies outside, the worst inside.

    Args:
        values: shape `(model, metric)`; finite
        names: the name of each model
        metrics: the name of each spoke, three at least
        lower_is_better: metrics for which lower is better

    Returns:
        a figure with one polar axes

    Raises:
        ValueError: fewer than three metrics span no area
    """
    if len(metrics) < 3:
        raise ValueError(f"a radar needs three metrics at least, not {len(metrics)}")
    falling = [metric in lower_is_better for metric in metrics]
    shares = INNER + (1 - INNER) * column_shares(values, falling)
    figure = Figure(figsize=(8, 6 + 0.2 * len(names)), layout=ConstrainedLayoutEngine(w_pad=SIDES))
    axes = figure.add_subplot(projection="polar")
    angles = np.linspace(0, 2 * np.pi, len(metrics), endpoint=False)
    around = np.append(angles, angles[0])
    for number, (name, row) in enumerate(zip(names, shares, strict=True)):
        axes.plot(around, np.append(row, row[0]), label=shortened(name, 44), **line(number, marker=True))
    labels = []
    for metric, less, column in zip(metrics, falling, values.T, strict=True):
        worst, best = (column.max(), column.min()) if less else (column.min(), column.max())
        labels.append(f"{metric.replace('_', ' ')}\n{worst:.4f} to {best:.4f}")
    axes.set_xticks(angles, labels, fontsize="small")
    axes.tick_params(axis="x", pad=8)
    for angle, label in zip(angles, axes.get_xticklabels(), strict=True):
        side = np.cos(angle)
        label.set_horizontalalignment("left" if side > 0.1 else "right" if side < -0.1 else "center")
    axes.set_yticks([INNER, 1.0], ["", ""])
    axes.set_ylim(0, 1.05)
    axes.spines["polar"].set_visible(False)
    axes.set_title("inner ring: worst of these, outer ring: best", fontsize="small")
    legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure
