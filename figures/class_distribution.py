"""How many images each class has."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

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
                axes.bar(places + (number - (len(counts) - 1) / 2) * bar, values, bar, label=split)
        else:
            # by size of the first split, so that the shape of a long tail can be seen
            order = np.argsort(-np.asarray(next(iter(counts.values()))), kind="stable")
            for split, values in counts.items():
                axes.plot(places, np.asarray(values)[order], label=split)
        axes.set_ylabel("images")
        axes.grid(axis="y", alpha=0.3)
    logarithmic.set_yscale("symlog", linthresh=1)
    logarithmic.set_ylim(bottom=0)
    linear.set_title(f"{sum(map(sum, counts.values())):,} images in {len(class_names):,} classes")
    # room for the legend
    linear.margins(y=0.2)
    linear.legend(ncols=len(counts), loc="upper right", fontsize="small")
    if named:
        long_names = max(map(len, class_names)) * len(class_names) > 60
        # a dollar sign in a name is no formula
        logarithmic.set_xticks(places, class_names, rotation=90 if long_names else 0, parse_math=False)
    else:
        logarithmic.set_xlabel(f"class, by its images in {next(iter(counts))}")
    return figure
