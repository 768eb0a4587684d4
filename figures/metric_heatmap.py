"""Configurations against metrics."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import SEQUENTIAL, ink, new_figure, shortened

NAME_LIMIT = 44


def metric_heatmap(
    values: NDArray[np.float64], rows: Sequence[str], metrics: Sequence[str], lower_is_better: Sequence[str] = ()
) -> Figure:
    """Draw a table whose cells are darker the better their value is among those of its column.

    Args:
        values: shape `(row, metric)`; NaN where undefined
        rows: the name of each row
        metrics: the name of each column
        lower_is_better: metrics for which lower is better

    Returns:
        a figure with one axes
    """
    figure, grid = new_figure(2.6 + 0.95 * len(metrics), max(1.6, 0.3 * len(rows) + 1.2))
    axes = grid[0, 0]
    shades = column_shares(values, [metric in lower_is_better for metric in metrics])
    image = axes.imshow(np.ma.masked_invalid(shades), aspect="auto", cmap=SEQUENTIAL, vmin=0, vmax=1)
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        known = bool(np.isfinite(value))
        color = ink(image, float(shades[row, column])) if known else "black"
        text = f"{value:.4f}" if known else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize="small", color=color)
    arrows = [f"{metric} {'↓' if metric in lower_is_better else '↑'}" for metric in metrics]
    axes.set_xticks(np.arange(len(metrics)), [name.replace("_", "\n") for name in arrows], fontsize="small")
    axes.xaxis.tick_top()
    names = [shortened(name, NAME_LIMIT) for name in rows]
    axes.set_yticks(np.arange(len(rows)), names, fontsize="small", parse_math=False)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("darker is better, from the worst to the best of each column", fontsize="small")
    return figure


def column_shares(values: NDArray[np.float64], falling: Sequence[bool]) -> NDArray[np.float64]:
    """Say where each value lies between the worst (0) and the best (1) of its column; 1 where all are alike.

    Args:
        values: shape `(row, column)`; NaN stays NaN
        falling: the columns in which lower is better

    Example:
        >>> column_shares(np.array([[1.0, 3.0], [2.0, 1.0]]), [False, True]).tolist()
        [[0.0, 0.0], [1.0, 1.0]]
    """
    shares = np.full(values.shape, np.nan)
    for column, less in enumerate(falling):
        known = np.isfinite(values[:, column])
        if known.any():
            found = values[known, column] * (-1 if less else 1)
            spread = np.ptp(found)
            shares[known, column] = (found - found.min()) / spread if spread else 1.0
    return shares
