"""Bars side by side: several values of each model."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.accuracy_bars import axis_start, bars_width
from figures.style import bar, legend, new_figure, shortened

NAME_LIMIT = 34


def grouped_bars(
    values: NDArray[np.float64],
    rows: Sequence[str],
    kinds: Sequence[str],
    lows: NDArray[np.float64] | None = None,
    highs: NDArray[np.float64] | None = None,
    label: str = "",
) -> Figure:
    """Draw a group of bars for each model, the first on top, with a bar for each kind, such as a metric or a source.

    Args:
        values: shape `(model, kind)`; NaN where there is none
        rows: the name of each model
        kinds: the name of each kind
        lows: lower ends of intervals, as `values`; None draws none
        highs: upper ends
        label: of the axis

    Returns:
        a figure with one axes
    """
    columns = min(len(kinds), 4)
    height = 0.9 / max(1, len(kinds))
    keys = -(-len(kinds) // max(1, columns))
    figure, grid = new_figure(
        bars_width(rows, NAME_LIMIT), max(2.2, (0.16 * len(kinds) + 0.18) * len(rows) + 0.9 + 0.22 * keys)
    )
    axes = grid[0, 0]
    lower = values if lows is None else np.where(np.isfinite(lows), lows, values)
    upper = values if highs is None else np.where(np.isfinite(highs), highs, values)
    known = np.isfinite(values)
    start = axis_start(float(lower[known].min(initial=1.0)), float(upper[known].max(initial=0.0)))
    top = float(upper[known].max(initial=start + 1e-6))
    places = np.arange(len(rows), dtype=np.float64)
    for number, kind in enumerate(kinds):
        at = places + (number - (len(kinds) - 1) / 2) * height
        shown = np.where(known[:, number], values[:, number] - start, 0.0)
        axes.barh(at, shown, 0.92 * height, start, label=shortened(kind, NAME_LIMIT), **bar(number))
        if lows is not None and highs is not None:
            for place in np.flatnonzero(np.isfinite(lows[:, number]) & np.isfinite(highs[:, number])):
                ends = [lows[place, number], highs[place, number]]
                axes.plot(ends, [at[place]] * 2, color="black", linewidth=1, marker="|", markersize=4)
        for place in np.flatnonzero(known[:, number]):
            text = f"{values[place, number]:.3f}"
            right = upper[place, number] + 0.01 * (top - start)
            axes.text(right, at[place], text, va="center", fontsize="x-small")
    axes.set_yticks(places, [shortened(name, NAME_LIMIT) for name in rows], fontsize="small", parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(start, start + 1.1 * max(top - start, 1e-6))
    axes.set_xlabel(label + (f" (the axis begins at {start:.6g})" if start else ""), parse_math=False)
    axes.grid(visible=False, axis="y")
    legend(figure, loc="outside lower center", ncols=columns)
    return figure
