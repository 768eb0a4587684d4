"""One style for every picture: readable in black and white, and with colour blindness."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection
from matplotlib.colors import Normalize
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from common.printable import printable
from figures import fonts

# Okabe and Ito (2008), Color Universal Design, without the yellow, which is faint on white; then three that are as far
# from these and from each other as these are in CIELAB, so that ten classes have ten colours
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#5E2CA5", "#7CAE00", "#A6761D",
)  # fmt: skip
RIGHT, WRONG, NEUTRAL = COLORS[0], COLORS[1], "#8C8C8C"
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "++", "--")
# sequential: from light to dark, so that it reads in grey; diverging: from one dark end over light to another
SEQUENTIAL, DIVERGING = "Blues", "PuOr"
DPI = 120
# labels that matplotlib gives
OWN_LABEL = re.compile(r"|None|_nolegend_|_(child|container)\d+")
# names longer than this are cut in the middle
NAME_LIMIT = 24

fonts.use_fallbacks()


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """Make an empty figure.

    Args:
        width: in inches
        height: in inches
        rows: of axes
        columns: of axes

    Returns:
        the figure and its axes, shape `(rows, columns)`
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        tidy(axes)
    return figure, grid


def tidy(axes: Axes) -> None:
    """Leave out what carries nothing, and put a faint grid behind the rest."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def line(number: int, marker: bool = False) -> dict[str, Any]:
    """Return colour, dashes and perhaps the marker of the line of that number, from 0."""
    style = {"color": COLORS[number % len(COLORS)], "linestyle": LINES[(number + number // len(COLORS)) % len(LINES)]}
    return style | ({"marker": MARKERS[number % len(MARKERS)], "markersize": 4} if marker else {})


def bar(number: int) -> dict[str, Any]:
    """Return colour and hatching of the bars of that number, from 0."""
    return {
        "color": COLORS[number % len(COLORS)],
        "hatch": HATCHES[number % len(HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.5,
    }


def shortened(name: str, limit: int = NAME_LIMIT) -> str:
    """Cut a long name in the middle, so that names which begin or end alike stay apart; see also `printable`.

    Example:
        >>> shortened("a long name of some class", 11)
        'a lon…class'
    """
    name = printable(name)
    if fonts.missing(name):
        fonts.tell_missing()
    if len(name) <= limit:
        return name
    end = (limit - 1) // 2
    return f"{name[: limit - 1 - end]}…{name[len(name) - end :]}"


def plain(texts: Iterable[Text]) -> None:
    """Take texts as they are: a dollar sign in a name is no formula."""
    for text in texts:
        text.set_parse_math(False)


def legend(where: Axes | Figure, **options: Any) -> None:
    """Add a legend, if there is anything to tell.

    matplotlib leaves out what is labelled with an underscore at its start, as classes may be: `_background_`.

    Args:
        where: one axes, or a figure for all of its axes
        options: of matplotlib's legend
    """
    handles: list[Any] = []
    told: set[str] = set()
    for axes in [where] if isinstance(where, Axes) else where.axes:
        own: list[Any] = [each for each in (*axes.get_children(), *axes.containers) if is_labelled(each)]
        # what several axes show alike is told once
        handles += [each for each in own if each.get_label() not in told]
        told |= {each.get_label() for each in own}
    if handles:
        labels = [str(each.get_label()) for each in handles]
        plain(where.legend(handles, labels, **{"fontsize": "small", "framealpha": 0.85, **options}).get_texts())


def is_labelled(artist: Any) -> bool:
    """Tell whether what is drawn was given a label: matplotlib gives all the others labels of its own."""
    kinds = (Line2D, Patch, Collection, Container)
    return isinstance(artist, kinds) and not OWN_LABEL.fullmatch(str(artist.get_label()))


def whole_numbers(axis: Axis) -> None:
    """Mark whole numbers alone, as of epochs and samples, even if there is only one."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def class_ticks(axes: Axes, names: Sequence[str], horizontal: bool = True, size: float | str = "small") -> None:
    """Name classes along an axis; long names stand upright.

    Args:
        axes: with one class at each whole number from 0
        names: of the classes
        horizontal: along the horizontal axis, or else the vertical one
        size: of the letters
    """
    short = [shortened(name) for name in names]
    places = np.arange(len(short))
    if horizontal:
        upright = max(map(len, short), default=0) * len(short) > 50
        axes.set_xticks(places, short, rotation=90 if upright else 0, fontsize=size, parse_math=False)
    else:
        axes.set_yticks(places, short, fontsize=size, parse_math=False)


def ink(shades: ScalarMappable, value: float) -> str:
    """Return black or white, whichever is read better on the colour of a value."""
    red, green, blue, _ = shades.to_rgba(np.asarray(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def symmetric(values: NDArray) -> Normalize:
    """Return a scale with zero in its middle."""
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    return Normalize(-largest, largest)


def show_image(axes: Axes, image: NDArray[np.uint8]) -> None:
    """Show one image without axes, its pixels as they are.

    Args:
        axes: to show it on
        image: shape `(height, width, channel)`, grey or RGB
    """
    grey = image.shape[2] == 1
    # small images keep their pixels; large ones must not get moiré
    smooth = "nearest" if max(image.shape[:2]) < 100 else "antialiased"
    options: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if grey else {}
    axes.imshow(image[..., 0] if grey else image, interpolation=smooth, **options)
    axes.set_axis_off()
