"""What a stack makes of its members."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import (
    DIVERGING,
    RIGHT,
    WRONG,
    bar,
    class_ticks,
    ink,
    legend,
    new_figure,
    shortened,
    symmetric,
    whole_numbers,
)

# above these numbers, only the classes and columns that matter most are drawn
SHOWN_CLASSES, SHOWN_COLUMNS = 40, 60


def stack_decisions(
    labels: NDArray,
    members: NDArray,
    stack: NDArray,
    member_names: Sequence[str],
    title: str = "",
) -> Figure:
    """Draw where a stack repaired or broke the decisions of its members.

    Args:
        labels: true class of each sample, shape `(sample,)`
        members: class that each member decides for, shape `(sample, member)`
        stack: class that the stack decides for, shape `(sample,)`
        member_names: of each member
        title: above the bars

    Returns:
        a figure with two axes: by member, the samples that the stack has right and the member has wrong (repaired) and
        the other way round (broken); by number of members that are right, the stack's right and wrong samples
    """
    labels, members, stack = np.asarray(labels), np.asarray(members), np.asarray(stack)
    right, stacked = members == labels[:, None], stack == labels
    repaired, broken = (~right & stacked[:, None]).sum(0), (right & ~stacked[:, None]).sum(0)
    figure, grid = new_figure(12, 1.8 + 0.42 * max(5, len(member_names)), 1, 2)
    bars, agreement = grid[0]
    places = np.arange(len(member_names))
    for values, sign, color, label, hatch in (
        (repaired, 1, RIGHT, "repaired by the stack", ""),
        (broken, -1, WRONG, "broken by the stack", "///"),
    ):
        drawn = bars.barh(places, sign * values, 0.65, color=color, hatch=hatch, edgecolor="white", label=label)
        bars.bar_label(drawn, [f"{value:,}" if value else "" for value in values], padding=3, fontsize="small")
    bars.axvline(0, color="black", linewidth=0.8)
    accuracies = right.mean(0)
    names = [f"{shortened(name)} ({share:.2%})" for name, share in zip(member_names, accuracies, strict=True)]
    bars.set_yticks(places, names, fontsize="small", parse_math=False)
    bars.set_ylim(len(places) - 0.4, -0.6)
    bars.margins(x=0.15)
    bars.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    bars.set_xlabel("samples that the stack has right and the member wrong, and the other way round")
    bars.xaxis.label.set_size("small")
    legend(bars, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2)
    votes = right.sum(1)
    groups = np.arange(len(member_names) + 1)
    good, bad = (np.bincount(votes[chosen], minlength=len(groups)) for chosen in (stacked, ~stacked))
    for number, (values, label) in enumerate(((good, "stack right"), (bad, "stack wrong"))):
        drawn = agreement.bar(groups + (number - 0.5) * 0.4, values, 0.4, label=label, **bar(number))
        agreement.bar_label(drawn, [f"{value:,}" if value else "" for value in values], padding=2, fontsize="x-small")
    agreement.set_yscale("symlog", linthresh=10)
    agreement.set_ylim(0, 3 * max(10, int(np.bincount(votes).max())))
    agreement.set_xticks(groups)
    agreement.set(xlabel="members that are right", ylabel="samples (logarithmic)")
    legend(agreement, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2)
    sums = f"stack {stacked.mean():.2%}, best member {accuracies.max():.2%}, any member right {right.any(1).mean():.2%}"
    figure.suptitle("\n".join(filter(None, [title, sums])), fontsize="medium", parse_math=False)
    return figure


def class_decisions(
    labels: NDArray, member: NDArray, stack: NDArray, class_names: Sequence[str], member_name: str, title: str = ""
) -> Figure:
    """Draw for each class how many samples a stack repaired and broke, against one member.

    Args:
        labels: true class of each sample, shape `(sample,)`
        member: class that the member decides for, shape `(sample,)`
        stack: class that the stack decides for, shape `(sample,)`
        class_names: the name of each class
        member_name: of the member
        title: above the bars

    Returns:
        a figure with two bars a class, or a sentence if there is nothing to show; of more than 40 classes those that
        changed most
    """
    labels = np.asarray(labels)
    right, stacked = np.asarray(member) == labels, np.asarray(stack) == labels
    repaired, broken = (
        np.bincount(labels[chosen], minlength=len(class_names)) for chosen in (~right & stacked, right & ~stacked)
    )
    order, notes = list(range(len(class_names))), []
    if len(order) > SHOWN_CLASSES:
        notes.append(f"the {SHOWN_CLASSES} classes that changed most, of {len(order):,}")
        order = sorted(np.argsort(-(repaired + broken), kind="stable")[:SHOWN_CLASSES].tolist())
    figure, grid = new_figure(max(6.0, 2 + 0.35 * len(order)), 4.2)
    axes = grid[0, 0]
    places = np.arange(len(order))
    options = {"edgecolor": "white", "width": 0.7}
    axes.bar(places, repaired[order], color=RIGHT, label="repaired", **options)
    axes.bar(places, -broken[order], color=WRONG, hatch="///", label="broken", **options)
    axes.axhline(0, color="black", linewidth=0.8)
    class_ticks(axes, [class_names[number] for number in order])
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    whole_numbers(axes.yaxis)
    axes.margins(y=0.2)
    axes.set_ylabel("samples")
    heading = f"stack against {shortened(member_name)}: {repaired.sum():,} repaired, {broken.sum():,} broken"
    axes.set_title("\n".join(filter(None, [title, heading, *notes])), fontsize="medium", parse_math=False)
    if (repaired + broken).any():
        legend(axes, ncols=2)
    else:
        # empty axes look like a fault
        axes.set_yticks([])
        place = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "both have the same samples right", **place)
    return figure


def head_weights(weights: NDArray, member_names: Sequence[str], class_names: Sequence[str], title: str = "") -> Figure:
    """Draw a linear head's weights: what each class's logit takes from each member's outputs.

    Args:
        weights: shape `(class, member, class)`: by class of the stack, member, and class of the member
        member_names: of each member
        class_names: the name of each class
        title: above the map

    Returns:
        a figure with one heat map a member on a scale common to all, classes of the stack in rows; with more than 40
        classes one map of classes by members: the weight of a member's own output for that class
    """
    weights = np.asarray(weights, dtype=np.float64)
    bases, classes = weights.shape[1], weights.shape[0]
    if classes > SHOWN_CLASSES:
        return _own_weights(weights, member_names, class_names, title)
    columns = min(4, bases)
    rows = -(-bases // columns)
    side = 1.6 + 0.14 * classes if classes > 12 else 2.6
    figure, grid = new_figure(columns * side + 1.6, rows * (side + 0.3) + 0.6, rows, columns)
    # squares leave room that their words need
    figure.set_layout_engine("compressed")
    size = "x-small" if classes <= 12 else 6
    scale = symmetric(weights)
    for axes in grid.flat[bases:]:
        axes.set_axis_off()
    for number, (axes, name) in enumerate(zip(grid.flat, member_names, strict=False)):
        image = axes.imshow(weights[:, number], cmap=DIVERGING, norm=scale, interpolation="nearest", aspect="equal")
        axes.grid(False)
        class_ticks(axes, class_names, size=size)
        if number % columns == 0:
            class_ticks(axes, class_names, horizontal=False, size=size)
            axes.set_ylabel("class of the stack", fontsize="small")
        else:
            axes.set_yticks([])
        axes.set_title(shortened(name), fontsize="small", parse_math=False)
        if number // columns == rows - 1:
            axes.set_xlabel("output of the member", fontsize="small")
    figure.colorbar(image, ax=grid, shrink=0.8, label="weight")
    figure.suptitle(title, fontsize="medium", parse_math=False)
    return figure


def _own_weights(weights: NDArray, member_names: Sequence[str], class_names: Sequence[str], title: str) -> Figure:
    classes = np.arange(len(class_names))
    own = weights[classes, :, classes]
    order = sorted(np.argsort(-np.ptp(own, axis=1), kind="stable")[:SHOWN_CLASSES].tolist())
    figure, grid = new_figure(3 + 0.8 * len(member_names), 2 + 0.2 * len(order))
    axes = grid[0, 0]
    axes.grid(False)
    image = axes.imshow(own[order], cmap=DIVERGING, norm=symmetric(own), interpolation="nearest", aspect="auto")
    for (row, column), value in np.ndenumerate(own[order]):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=ink(image, value))
    class_ticks(axes, member_names)
    class_ticks(axes, [class_names[number] for number in order], horizontal=False, size=6)
    figure.colorbar(image, ax=axes, shrink=0.8, label="weight of a member's own output for the class")
    note = f"the {len(order)} classes whose members differ most, of {len(classes):,}"
    axes.set_title("\n".join(filter(None, [title, note])), fontsize="medium", parse_math=False)
    return figure
