"""How many images each class has."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from figures.style import bar as bar_style
from figures.style import class_ticks, legend, line, tidy

# more classes than this are drawn as a line, without their names
NAMED_CLASSES = 60


def class_distribution(counts: Mapping[str, Sequence[int]], class_names: Sequence[str]) -> Figure:
    """Draw the images of each class in each split, on a linear and on a logarithmic scale.

    Args:
        counts: by split, the images of each class in label order
        class_names: the name of each class, in label order

    Returns:
        a figure with two axes: linear, logarithmic
    """
    named = len(class_names) <= NAMED_CLASSES
    width = min(16.0, max(6.0, 0.35 * len(class_names) + 2)) if named else 10.0
    figure = Figure(figsize=(width, 7), layout="constrained")
    linear, logarithmic = figure.subplots(2, 1, sharex=True)
    places = np.arange(len(class_names))
    for axes in (linear, logarithmic):
        if named:
            bar = 0.8 / max(1, len(counts))
            for number, (split, values) in enumerate(counts.items()):
                axes.bar(places + (number - (len(counts) - 1) / 2) * bar, values, bar, label=split, **bar_style(number))
        else:
            # sorted by size in the first split, so that the shape of a long tail can be seen
            order = np.argsort(-np.asarray(next(iter(counts.values()))), kind="stable")
            for number, (split, values) in enumerate(counts.items()):
                axes.plot(places, np.asarray(values)[order], label=split, **line(number))
        axes.set_ylabel("images")
        tidy(axes)
        axes.grid(axis="x", visible=False)
    logarithmic.set_yscale("symlog", linthresh=1)
    logarithmic.set_ylim(bottom=0)
    linear.set_title(f"{sum(map(sum, counts.values())):,} images in {len(class_names):,} classes")
    # room for the legend
    linear.margins(y=0.2)
    legend(linear, ncols=len(counts), loc="upper right")
    if named:
        class_ticks(logarithmic, class_names)
    else:
        logarithmic.set_xlabel(f"class, by its images in {next(iter(counts))}")
    return figure
