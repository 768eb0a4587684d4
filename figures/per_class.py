"""Precision, recall, F1, error rate and support of each class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from figures.style import bar, new_figure, shortened
from measures.per_class import ClassReport

# above this number of classes, only the best and the worst are drawn
SHOWN_CLASSES = 40


def per_class(report: ClassReport, class_names: Sequence[str], title: str = "") -> Figure:
    """Draw each class's scores, error rate and support, the class of lowest F1 first.

    Args:
        report: as `class_report` returns it
        class_names: the name of each class
        title: above the bars

    Returns:
        a figure with three axes: scores, error rate, support. Of more than 40 classes the 20 worst and 20 best; classes
        that neither occur nor are predicted are left out
    """
    seen = np.flatnonzero((report.support > 0) | (report.predicted > 0))
    order = seen[np.lexsort((seen, report.f1[seen]))]
    notes = []
    if len(seen) < len(class_names):
        notes.append(f"{len(class_names) - len(seen)} classes do not occur")
    if len(order) > SHOWN_CLASSES:
        half = SHOWN_CLASSES // 2
        notes.append(f"the {half} worst and {half} best of {len(order):,} classes by F1")
        order = np.concatenate([order[:half], order[-half:]])
    figure, grid = new_figure(11, 1.6 + 0.34 * max(4, len(order)), 1, 3)
    scores, errors, support = grid[0]
    # the last tick of one axis is not read as the first of the next
    figure.set_layout_engine("constrained", wspace=0.06)
    places, height = np.arange(len(order)), 0.27
    for number, name in enumerate(("precision", "recall", "f1")):
        values = getattr(report, name)[order]
        scores.barh(places + (number - 1) * height, values, height, label="F1" if name == "f1" else name, **bar(number))
    rates = report.error_rate[order]
    # an axis of shares ends at 100 % at most
    end = min(1.0, max(0.02, 1.25 * float(np.nanmax(np.append(rates, 0)))))
    errors.barh(places, np.nan_to_num(rates), 0.7, **bar(1))
    for place, value in zip(places, rates, strict=True):
        text = "no sample" if np.isnan(value) else f"{value:.1%}"
        # beside the bar, or in it where there is no room
        inside = np.nan_to_num(value) > 0.82 * end
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8} if inside else None
        side: dict[str, Any] = {"ha": "right" if inside else "left", "bbox": box}
        at = np.nan_to_num(value) + (-0.02 if inside else 0.01) * end
        errors.text(at, place, text, va="center", fontsize="x-small", **side)
    support.barh(places, report.support[order], 0.7, **bar(0))
    for place, value in zip(places, report.support[order], strict=True):
        support.text(value, place, f" {value:,}", va="center", fontsize="x-small")
    for axes, label in ((scores, "score"), (errors, "error rate"), (support, "samples")):
        _finish(axes, label, len(order))
    scores.set_xlim(0, 1)
    errors.set_xlim(0, end)
    errors.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    support.set_xlim(0, 1.25 * max(1, int(report.support[order].max(initial=0))))
    scores.set_yticks(places, [shortened(class_names[n]) for n in order], fontsize="small", parse_math=False)
    figure.legend(*scores.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize="small")
    figure.suptitle("\n".join(filter(None, [title, *notes])), fontsize="medium", parse_math=False)
    return figure


def _finish(axes: Axes, label: str, count: int) -> None:
    axes.set_xlabel(label)
    axes.set_yticks([])
    axes.set_ylim(count - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
