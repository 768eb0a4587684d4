"""Images with what is known and said of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from common.printable import printable
from figures.style import NEUTRAL, RIGHT, WRONG, new_figure, shortened, show_image

Image = NDArray[np.uint8]
COLUMNS = 8
# above this number of classes, only the most probable are drawn
SHOWN_CLASSES = 10
# letters of a file's name that have room below its image
FILE_LIMIT = 32


def gallery(
    images: Sequence[Image],
    titles: Sequence[str],
    title: str = "",
    overlays: Sequence[NDArray[np.floating]] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """Draw images in rows, each below its title.

    Args:
        images: each uint8, shape `(height, width, channel)`, grey or RGB, of any size
        titles: of each image, of one to three short lines
        title: above them all
        overlays: of each image what to lay over a copy of it below, in [0, 1], shape `(height, width)`
        names: of each image's file, to write below it; none writes nothing

    Returns:
        a figure with eight images a row; with overlays each row of images stands above one of overlays
    """
    columns = min(COLUMNS, max(4, len(images)))
    rows = -(-max(1, len(images)) // columns)
    layers = 1 if overlays is None else 2
    lines = max((text.count("\n") + 1 for text in titles), default=1)
    height = 1.55 * layers + 0.16 * lines + (0.12 if names else 0)
    figure, grid = new_figure(1.6 * columns, height * rows + 0.5, layers * rows, columns)
    for axes in grid.flat:
        axes.set_axis_off()
    if not images:
        grid[0, 0].text(0, 0.5, "none", va="center")
    for number, (image, text) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(number, columns)
        places = grid[layers * row : layers * (row + 1), column]
        for axes in places:
            show_image(axes, image)
        places[0].set_title(text, fontsize=7, parse_math=False)
        if overlays is not None:
            side = image.shape[:2]
            extent = (-0.5, side[1] - 0.5, side[0] - 0.5, -0.5)
            options: dict[str, Any] = {"cmap": "inferno", "vmin": 0, "vmax": 1, "interpolation": "bilinear"}
            places[-1].imshow(overlays[number], alpha=0.5, extent=extent, **options)
        if names:
            below = {"transform": places[-1].transAxes, "ha": "center", "va": "top", "fontsize": 5.5}
            places[-1].text(0.5, -0.02, end_of(names[number]), parse_math=False, **below)
    figure.suptitle(title, fontsize="medium", parse_math=False)
    return figure


def end_of(name: str, limit: int = FILE_LIMIT) -> str:
    """Return the end of a file's name, which tells more of it than the folders at its start.

    Example:
        >>> end_of("photos/2024/north/0001.png", 12)
        '…th/0001.png'
    """
    name = printable(name)
    return name if len(name) <= limit else f"…{name[1 - limit :]}"


def captions(labels: NDArray, probabilities: NDArray, class_names: Sequence[str], limit: int = 15) -> list[str]:
    """Say of each image what it is, what it was taken for, and how surely.

    Args:
        labels: class of each image, shape `(image,)`
        probabilities: shape `(image, class)`
        class_names: the name of each class
        limit: names longer than this are cut

    Returns:
        three lines an image, or two where the prediction is right
    """
    texts = []
    for label, row in zip(np.asarray(labels).tolist(), np.asarray(probabilities), strict=True):
        predicted = int(row.argmax())
        lines = [f"{shortened(class_names[predicted], limit)} {row[predicted]:.1%}"]
        if predicted != label:
            lines = [f"true: {shortened(class_names[label], limit - 3)} {row[label]:.1%}", *lines]
        texts.append("\n".join(lines))
    return texts


def prediction(
    image: Image,
    probabilities: NDArray,
    class_names: Sequence[str],
    label: int | None = None,
    name: str = "",
) -> Figure:
    """Draw one image beside the probabilities of its classes.

    Args:
        image: uint8, shape `(height, width, channel)`
        probabilities: shape `(class,)`
        class_names: the name of each class
        label: the true class, if it is known
        name: of the image's file, to write below it

    Returns:
        a figure with two axes: the image, and one bar a class, the most probable first (of more than 10 classes, 10)
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-probabilities, kind="stable")[:SHOWN_CLASSES]
    if label is not None and label not in order:
        order = np.append(order[:-1], label)
    figure = Figure(figsize=(8, max(3.2, 1 + 0.3 * len(order))), layout="constrained")
    picture, bars = figure.subplots(1, 2, width_ratios=[1, 1.6])
    show_image(picture, image)
    if name:
        place = {"transform": picture.transAxes, "ha": "center", "va": "top", "fontsize": "x-small"}
        picture.text(0.5, -0.02, end_of(name), parse_math=False, **place)
    predicted = int(order[0])
    colors = [RIGHT if n == label else WRONG if n == predicted and label is not None else NEUTRAL for n in order]
    hatches = ["" if n == label or label is None else "///" if n == predicted else "" for n in order]
    drawn = bars.barh(np.arange(len(order)), probabilities[order], color=colors, hatch=hatches, edgecolor="white")
    bars.bar_label(drawn, [f"{probabilities[n]:.1%}" for n in order], padding=3, fontsize="small")
    names = [shortened(class_names[n]) + (" (true)" if n == label else "") for n in order]
    bars.set_yticks(np.arange(len(order)), names, fontsize="small", parse_math=False)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1.15), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="probability")
    bars.spines[["top", "right"]].set_visible(False)
    text = f"predicted: {shortened(class_names[predicted], 40)}"
    truth = [] if label is None else [f"true: {shortened(class_names[label], 40)}"]
    figure.suptitle("\n".join([*truth, text]), fontsize="medium", parse_math=False)
    return figure
