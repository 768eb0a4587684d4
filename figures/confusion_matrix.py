"""Which classes are confused with which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import SEQUENTIAL, WRONG, class_ticks, ink, new_figure, shortened, whole_numbers
from measures.per_class import ConfusedPair, most_confused

# above these numbers of classes, the matrix has no numbers, has no names, or shows only the most confused classes
NUMBERED_CLASSES, NAMED_CLASSES, SHOWN_CLASSES = 20, 60, 40


def confusion_matrix(
    counts: NDArray[np.int64],
    class_names: Sequence[str],
    normalized: bool = False,
    title: str = "",
    summarised: bool = True,
) -> Figure:
    """Draw a confusion matrix.

    Args:
        counts: samples by true class (row) and predicted class (column), shape `(class, class)`
        class_names: the name of each class
        normalized: draw shares of the true class; a class without samples stays empty
        title: above the matrix
        summarised: of more than 60 classes draw the 40 that are most confused; else all, without names

    Returns:
        a figure with the matrix, and a colour bar
    """
    counts, total = np.asarray(counts), len(class_names)
    support = counts.sum(1)
    values = counts / np.where(support > 0, support, np.nan)[:, None] if normalized else counts.astype(np.float64)
    notes = []
    if total > NAMED_CLASSES and summarised:
        chosen = confused_classes(counts, SHOWN_CLASSES)
        values, class_names = values[np.ix_(chosen, chosen)], [class_names[number] for number in chosen]
        notes.append(f"the {len(chosen)} most confused of {total:,} classes")
    elif normalized and (support == 0).any():
        notes.append(f"{int((support == 0).sum())} of {total:,} classes have no sample")
    shown, named = len(class_names), len(class_names) <= NAMED_CLASSES
    side = min(14.0, 3.2 + 0.42 * shown) if shown <= NUMBERED_CLASSES else min(13.0, 4.5 + 0.2 * shown)
    figure, grid = new_figure(side + 0.8, side, 1, 1)
    axes = grid[0, 0]
    axes.grid(False)
    largest = 1.0 if normalized else max(1.0, float(values.max()))
    # single cells of many are seen only if they are dark
    scale = Normalize(0, largest) if named else PowerNorm(0.35, 0, largest)
    image = axes.imshow(values, cmap=SEQUENTIAL, norm=scale, interpolation="nearest" if named else "none")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class" if normalized else "samples")
    if named:
        size = "small" if shown <= NUMBERED_CLASSES else "x-small"
        class_ticks(axes, class_names, size=size)
        class_ticks(axes, class_names, horizontal=False, size=size)
    if shown <= NUMBERED_CLASSES:
        for (row, column), value in np.ndenumerate(values):
            if value > 0:
                text = f"{value:.2f}".removeprefix("0") if normalized else number_text(value)
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink(image, value))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title("\n".join(filter(None, [title, *notes])), fontsize="medium", parse_math=False)
    return figure


def number_text(value: float) -> str:
    """Write a count in at most four characters or so.

    Example:
        >>> number_text(950), number_text(12_345)
        ('950', '12k')
    """
    return f"{value:.0f}" if value < 10_000 else f"{value / 1000:.0f}k"


def confused_classes(counts: NDArray[np.int64], limit: int) -> list[int]:
    """Return the classes of the most confused pairs, in label order.

    Args:
        counts: by true class (row) and predicted class (column)
        limit: how many classes at most
    """
    chosen: list[int] = []
    for pair in most_confused(counts, limit * limit):
        new = [number for number in dict.fromkeys((pair.true, pair.predicted)) if number not in chosen]
        if len(chosen) + len(new) > limit:
            break
        chosen += new
    # without any mistake: the largest ones
    return sorted(chosen or np.argsort(-counts.sum(1), kind="stable")[:limit].tolist())


def confused_pairs(pairs: Sequence[ConfusedPair], class_names: Sequence[str], title: str = "") -> Figure:
    """Draw how often classes were taken for others, the most frequent first.

    Args:
        pairs: as `most_confused` returns them
        class_names: the name of each class
        title: above the bars

    Returns:
        a figure with one bar a pair
    """
    figure, grid = new_figure(8, 1.4 + 0.3 * max(3, len(pairs)))
    axes = grid[0, 0]
    axes.set_title(title, fontsize="medium", parse_math=False)
    if not pairs:
        axes.text(0.5, 0.5, "no sample was misclassified", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return figure
    names = [f"{shortened(class_names[p.true])} → {shortened(class_names[p.predicted])}" for p in pairs]
    bars = axes.barh(np.arange(len(pairs)), [pair.count for pair in pairs], color=WRONG, height=0.7)
    labels = [f"{pair.count:,} ({pair.share:.1%})" for pair in pairs]
    axes.bar_label(bars, labels, padding=3, fontsize="small")
    axes.set_yticks(np.arange(len(pairs)), names, fontsize="small", parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("samples (share of the true class), true → predicted")
    whole_numbers(axes.xaxis)
    return figure
