"""Confusion matrices of several models side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import ink, new_figure, plain, shortened

# more classes than this have neither names nor numbers in the picture
NAMED_CLASSES, NUMBERED_CLASSES = 40, 20


def confusions(counts: Sequence[NDArray[np.int64]], names: Sequence[str], class_names: Sequence[str]) -> Figure:
    """Draw a matrix for each model: the share of each true class (row) that was predicted as each class (column).

    Rows of classes that are absent stay empty.

    Args:
        counts: of each model, by true class and predicted class, shape `(class, class)`
        names: of the models
        class_names: the name of each class

    Returns:
        a figure with an axes for each model, two in a row
    """
    classes = len(class_names)
    columns = min(2, len(counts))
    rows = -(-len(counts) // columns)
    side = min(7.0, max(3.4, 0.42 * classes + 1.2))
    figure, grid = new_figure(side * columns + 0.6, side * rows, rows, columns)
    for place in range(len(counts), rows * columns):
        grid[divmod(place, columns)].set_axis_off()
    short = [shortened(name, 12) for name in class_names]
    for place, (matrix, name) in enumerate(zip(counts, names, strict=True)):
        axes = grid[divmod(place, columns)]
        support = matrix.sum(1, keepdims=True)
        shares = np.where(support > 0, matrix / np.maximum(support, 1), np.nan)
        image = axes.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        plain([axes.set_title(shortened(name, 40), fontsize="small")])
        axes.set_xlabel("predicted", fontsize="small")
        axes.set_ylabel("true", fontsize="small")
        if classes <= NAMED_CLASSES:
            axes.set_xticks(np.arange(classes), short, rotation=90, fontsize="x-small", parse_math=False)
            axes.set_yticks(np.arange(classes), short, fontsize="x-small", parse_math=False)
        if classes <= NUMBERED_CLASSES:
            for true, predicted in zip(*np.nonzero(matrix), strict=True):
                share = float(shares[true, predicted])
                text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
                color = ink(image, share)
                axes.text(predicted, true, text, ha="center", va="center", fontsize=6.5, color=color)
    unit = ", in per cent" if classes <= NUMBERED_CLASSES else ", from white (none) to dark (all)"
    figure.supxlabel(f"share of each true class{unit}", fontsize="small")
    return figure
