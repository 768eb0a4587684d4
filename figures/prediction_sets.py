"""How large prediction sets are, and how often they hold the true class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import NEUTRAL, bar, class_ticks, legend, line, new_figure

# the classes that are covered least are drawn
SHOWN_CLASSES = 40
# sets larger than this are drawn together
SHOWN_SIZES = 20


def prediction_sets(report: Mapping[str, Any], title: str = "") -> Figure:
    """Draw the sizes of prediction sets, and the coverage of each class with its interval.

    Args:
        report: what `set_report` returned, with sets
        title: above both

    Returns:
        a figure with two axes: sets by their number of classes, with the coverage of each size; and the coverage of
        each class, the lowest first
    """
    rows = sorted(report["size"]["sizes"], key=lambda row: row["classes"])
    few, many = rows[:SHOWN_SIZES], rows[SHOWN_SIZES:]
    classes = sorted((row for row in report["classes"] if row["samples"]), key=lambda row: row["covered"]["value"])
    shown = classes[:SHOWN_CLASSES]
    figure, grid = new_figure(12, 1.8 + max(3.0, 0.22 * len(shown)), 1, 2)
    sizes, coverage = grid[0]
    counts = [row["samples"] for row in few] + [sum(row["samples"] for row in many)] * bool(many)
    names = [f"{row['classes']:,}" for row in few] + [f"{many[0]['classes']:,} and more" if many else ""] * bool(many)
    held = [row["covered"]["value"] for row in few]
    if many:
        held.append(float(np.average([row["covered"]["value"] for row in many], weights=[r["samples"] for r in many])))
    drawn = sizes.bar(range(len(counts)), counts, 0.8, **bar(0))
    sizes.bar_label(drawn, [f"{value:,}\n{share:.1%}" for value, share in zip(counts, held, strict=True)], fontsize=7)
    sizes.set_xticks(range(len(names)), names, fontsize="small", rotation=90 if len(names) > 12 else 0)
    sizes.margins(y=0.15)
    sizes.set(xlabel="classes in the set", ylabel="images (and how many of them hold the true class)")
    places = np.arange(len(shown))
    values = np.array([row["covered"]["value"] for row in shown])
    # few samples of a class have no interval
    ends = np.array(
        [[row["covered"]["low"], row["covered"]["high"]] if row["covered"]["low"] is not None else [v, v]
         for row, v in zip(shown, values, strict=True)]
    ).reshape(-1, 2)  # fmt: skip
    spread = np.abs(ends.T - values)
    coverage.errorbar(values, places, xerr=spread, fmt="o", markersize=4, color=line(0)["color"], label="of the class")
    coverage.axvline(report["coverage"], color="black", linestyle="--", linewidth=0.9, label="wanted")
    coverage.axvline(report["covered"]["value"], color=NEUTRAL, linewidth=0.9, label="of all images")
    class_ticks(coverage, [row["name"] for row in shown], horizontal=False)
    coverage.set_ylim(len(shown) - 0.4, -0.6)
    more = f", the lowest {len(shown)} of {len(classes):,} classes" if len(classes) > len(shown) else ""
    coverage.set_xlabel(
        f"share of images whose set holds the true class, with 95 % intervals of one training{more}", fontsize="small"
    )
    legend(coverage, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3)
    figure.suptitle(title, fontsize="medium", parse_math=False)
    return figure
