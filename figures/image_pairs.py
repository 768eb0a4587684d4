"""Pairs of images, one above the other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import new_figure, show_image


def image_pairs(pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]], titles: Sequence[str]) -> Figure:
    """Draw pairs of images in columns.

    Args:
        pairs: both images of each pair, shape `(height, width, channel)`
        titles: of each pair

    Returns:
        a figure with two rows of images to every eight pairs
    """
    columns = min(8, max(1, len(pairs)))
    rows = -(-max(1, len(pairs)) // columns)
    figure, grid = new_figure(1.6 * columns, 3.7 * rows, 2 * rows, columns)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (pair, title) in enumerate(zip(pairs, titles, strict=True)):
        row, column = divmod(number, columns)
        for side, image in enumerate(pair):
            show_image(grid[2 * row + side, column], image)
        # a dollar sign in a name is no formula
        grid[2 * row, column].set_title(title, fontsize=7, parse_math=False)
    return figure
