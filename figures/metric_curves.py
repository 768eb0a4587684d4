"""A metric along a quantity, such as the share of the training data: scaling curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from figures.style import legend, line, new_figure, shortened

NAME_LIMIT = 34
# an axis whose values span more than this factor is logarithmic
WIDE = 8


def metric_curves(curves: Mapping[str, Mapping[float, Sequence[float]]], x: str, label: str = "accuracy") -> Figure:
    """Draw a line for each curve through the means, with a dot for each run; bars span from the lowest to the highest.

    Args:
        curves: by name, by place along the axis: the metric of the runs there
        x: name of the axis
        label: of the metric

    Returns:
        a figure with one axes
    """
    figure, grid = new_figure(8, 4.2 + 0.22 * -(-len(curves) // 3))
    axes = grid[0, 0]
    places = sorted({place for curve in curves.values() for place in curve})
    for number, (name, curve) in enumerate(curves.items()):
        at = sorted(curve)
        style = line(number, marker=True)
        means = [float(np.mean(curve[place])) for place in at]
        axes.plot(at, means, label=shortened(name, NAME_LIMIT), **style)
        for place in at:
            if len(curve[place]) > 1:
                ends = [min(curve[place]), max(curve[place])]
                axes.plot([place] * 2, ends, color=style["color"], linewidth=1, marker="_", markersize=6)
    if len(places) > 1 and places[0] > 0 and places[-1] > WIDE * places[0]:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        if len(places) <= 8:
            axes.set_xticks(places)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.minorticks_off()
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(label)
    legend(figure, loc="outside lower center", ncols=3)
    return figure
