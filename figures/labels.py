"""Names beside points that do not lie over each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

# steps away from a point, in points of print: to the right, to the left, then further up and down with a line to it
SIDES = ((7, 0, "left"), (-7, 0, "right"), (0, 9, "center"), (0, -9, "center"))
FURTHER = tuple((side * 14, sign * 11 * step, align) for step in range(1, 9) for sign in (1, -1)
                for side, align in ((1, "left"), (-1, "right")))  # fmt: skip


def write_names(axes: Axes, points: Sequence[tuple[float, float, str]], size: str = "small") -> None:
    """Write a name beside each point, where it lies over no other name, point or legend.

    Scales and limits of the axes must be set by now. A name that finds no room near its point is joined to it by a
    line.

    Args:
        axes: with the points drawn
        points: place and name of each
        size: of the letters
    """
    canvas = FigureCanvasAgg(axes.get_figure(root=True))
    # the layout is settled by drawing
    canvas.draw()
    renderer = canvas.get_renderer()
    places = axes.transData.transform([(at, value) for at, value, _ in points])
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in places]
    if (legend := axes.get_legend()) is not None:
        taken.append(legend.get_window_extent(renderer))
    inside, unit = axes.get_window_extent(renderer), canvas.figure.dpi / 72
    for (x, y), (at, value, name) in zip(places, points, strict=True):
        text = axes.text(at, value, name, fontsize=size, parse_math=False)
        extent = text.get_window_extent(renderer)
        text.remove()
        width, height = extent.width + 2, extent.height
        best = min(
            ((right, up, align, _box(x + unit * right, y + unit * up, width, height, align))
             for right, up, align in (*SIDES, *FURTHER)),
            key=lambda found: _crossed(found[3], taken, inside),
        )  # fmt: skip
        right, up, align, box = best
        taken.append(box)
        far = abs(up) > 10
        arrow = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3} if far else None
        axes.annotate(
            name, (at, value), (right, up), textcoords="offset points", ha=align, va="center", fontsize=size,
            parse_math=False, arrowprops=arrow,
        )  # fmt: skip


def _box(x: float, y: float, width: float, height: float, align: str) -> Bbox:
    left = {"left": x, "right": x - width, "center": x - width / 2}[align]
    return Bbox.from_bounds(left, y - height / 2, width, height)


def _crossed(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """Measure how much of a box lies over others or outside, in pixels; the first of equals is the nearest."""
    over = sum(_area(Bbox.intersection(box, other)) for other in taken)
    return over + _area(box) - _area(Bbox.intersection(box, inside))


def _area(box: Bbox | None) -> float:
    return 0.0 if box is None else float(np.prod(box.size))
