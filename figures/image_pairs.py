"""Pairs of images, one above the other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


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
    figure = Figure(figsize=(1.6 * columns, 3.7 * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (pair, title) in enumerate(zip(pairs, titles, strict=True)):
        row, column = divmod(number, columns)
        for side, image in enumerate(pair):
            grey = image.shape[2] == 1
            grid[2 * row + side, column].imshow(image[..., 0] if grey else image, cmap="gray" if grey else None)
        # a dollar sign in a name is no formula
        grid[2 * row, column].set_title(title, fontsize=7, parse_math=False)
    return figure
