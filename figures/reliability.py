"""Whether a model is right as often as it is sure."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import COLORS, NEUTRAL, RIGHT, WRONG, legend, new_figure
from measures.reliability import Reliability, check_predictions


def reliability(bins: Reliability, title: str = "") -> Figure:
    """Draw a reliability diagram (DeGroot and Fienberg 1983) over a histogram of confidence.

    Args:
        bins: as `reliability_bins` returns them
        title: above the diagram

    Returns:
        a figure with two axes: accuracy over confidence, samples over confidence
    """
    figure = Figure(figsize=(5.5, 6.5), layout="constrained")
    diagram, histogram = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    width, filled = np.diff(bins.edges), bins.counts > 0
    left, accuracy, confidence = bins.edges[:-1], bins.accuracy, bins.confidence
    edge = {"align": "edge", "edgecolor": "black", "linewidth": 0.6}
    diagram.bar(left[filled], accuracy[filled], width[filled], color=COLORS[5], label="accuracy", **edge)
    gap = (confidence - accuracy)[filled]
    diagram.bar(
        left[filled],
        gap,
        width[filled],
        bottom=accuracy[filled],
        facecolor="none",
        hatch="///",
        label="gap to the confidence",
        align="edge",
        edgecolor=WRONG,
        linewidth=0.6,
    )
    diagram.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="perfectly calibrated")
    diagram.set_ylabel("accuracy")
    diagram.set(xlim=(0, 1), ylim=(0, 1))
    diagram.set_title("\n".join(filter(None, [title, f"ECE {bins.ece:.4f}"])), fontsize="medium", parse_math=False)
    # bars may be anywhere in the diagram
    figure.legend(*diagram.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    histogram.bar(left, bins.counts / bins.counts.sum(), width, color=NEUTRAL, **edge)
    histogram.set_ylabel("share of samples")
    histogram.set_xlabel("confidence (probability of the predicted class)")
    for axes in (diagram, histogram):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    return figure


def confidence(labels: NDArray, probabilities: NDArray, title: str = "") -> Figure:
    """Draw how confident right and wrong predictions are, as histograms and as box plots.

    Args:
        labels: class of each sample, shape `(sample,)`
        probabilities: shape `(sample, class)`
        title: above the histograms

    Returns:
        a figure with two axes: shares of samples by confidence, box plots
    """
    labels, probabilities = check_predictions(labels, probabilities)
    confidences, right = probabilities.max(1), probabilities.argmax(1) == labels
    figure, grid = new_figure(7, 5.5, 2, 1)
    histogram, boxes = grid[:, 0]
    edges = np.linspace(0, 1, 21)
    parts = {"right": confidences[right], "wrong": confidences[~right]}
    looks = {
        "right": {"histtype": "stepfilled", "color": RIGHT, "alpha": 0.45},
        "wrong": {"histtype": "step", "color": WRONG, "linewidth": 2, "hatch": "///"},
    }
    for name, values in parts.items():
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            histogram.hist(values, edges, weights=weights, label=f"{name} ({len(values):,})", **looks[name])
    histogram.set_ylabel("share of right, of wrong")
    histogram.set_title(title, fontsize="medium", parse_math=False)
    legend(histogram, loc="upper left")
    drawn = boxes.boxplot(list(parts.values()), orientation="horizontal", widths=0.6, patch_artist=True)
    for patch, color, hatch in zip(drawn["boxes"], (RIGHT, WRONG), ("", "///"), strict=True):
        patch.set(facecolor=color, alpha=0.5, hatch=hatch)
    for median in drawn["medians"]:
        median.set(color="black", linewidth=2)
    for flier in drawn["fliers"]:
        flier.set(marker=".", markersize=3, alpha=0.4)
    boxes.set_yticks([1, 2], [name if len(values) else f"{name} (none)" for name, values in parts.items()])
    boxes.invert_yaxis()
    boxes.set_xlabel("confidence (probability of the predicted class)")
    for axes in (histogram, boxes):
        axes.set_xlim(0, 1)
    return figure
