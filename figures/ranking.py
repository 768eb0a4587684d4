"""ROC, precision-recall and risk-coverage curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import NEUTRAL, legend, line, new_figure, shortened
from measures.curves import ClassCurves, Curve, RiskCoverage

# above this number of classes, only the worst are drawn, beside the averages
SHOWN_CLASSES = 10


def roc(curves: ClassCurves, class_names: Sequence[str], title: str = "") -> Figure:
    """Draw the ROC curve of each class against the rest, and their averages.

    Args:
        curves: as `roc_curves` returns them
        class_names: the name of each class
        title: above the curves

    Returns:
        a figure with one line a class (of more than 10 classes the 10 of smallest area), the macro and micro averages;
        classes without a curve are named
    """
    figure, grid = new_figure(8.5, 5.5)
    axes = grid[0, 0]
    axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, label="chance")
    _draw(axes, curves, class_names, "AUROC", title, "default")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    return figure


def precision_recall(curves: ClassCurves, class_names: Sequence[str], title: str = "") -> Figure:
    """Draw the precision-recall curve of each class against the rest, and their averages.

    Args:
        curves: as `precision_recall_curves` returns them
        class_names: the name of each class
        title: above the curves

    Returns:
        a figure with one line a class (of more than 10 classes the 10 of smallest area), the macro and micro averages;
        classes without a curve are named
    """
    figure, grid = new_figure(8.5, 5.5)
    axes = grid[0, 0]
    # steps, as average precision sums them up
    _draw(axes, curves, class_names, "AP", title, "steps-pre")
    axes.set(xlabel="recall", ylabel="precision")
    return figure


def _draw(axes: Axes, curves: ClassCurves, names: Sequence[str], area: str, title: str, drawstyle: Any) -> None:
    notes = []
    order = sorted(curves.classes, key=lambda number: (curves.classes[number].area, number))
    if len(order) > SHOWN_CLASSES:
        notes.append(f"the {SHOWN_CLASSES} classes of smallest {area} of {len(order):,}")
    for place, number in enumerate(sorted(order[:SHOWN_CLASSES])):
        curve = curves.classes[number]
        label = f"{shortened(names[number])} ({curve.area:.4f})"
        axes.plot(curve.x, curve.y, drawstyle=drawstyle, linewidth=1.2, label=label, **line(place))
    averages: list[tuple[str, Curve | None, str]] = [("macro", curves.macro, "-"), ("micro", curves.micro, "--")]
    for name, curve_or_none, dashes in averages:
        if curve_or_none is not None:
            label = f"{name} average ({curve_or_none.area:.4f})"
            options: dict[str, Any] = {"color": "black", "linewidth": 2.2, "linestyle": dashes, "label": label}
            axes.plot(curve_or_none.x, curve_or_none.y, drawstyle=drawstyle, **options)
    if curves.absent:
        left_out = ", ".join(shortened(names[number]) for number in curves.absent[:5])
        more = f" and {len(curves.absent) - 5} more" if len(curves.absent) > 5 else ""
        notes.append(f"no curve, for want of samples of both sorts: {left_out}{more}")
    if not curves.classes:
        axes.text(0.5, 0.5, "no class has a curve", ha="center", transform=axes.transAxes)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_title("\n".join(filter(None, [title, *notes])), fontsize="medium", parse_math=False)
    legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5), title=f"class ({area})", title_fontsize="small")


def risk_coverage(curves: Mapping[str, RiskCoverage], title: str = "") -> Figure:
    """Draw the error among the samples that are kept when the least confident ones are left undecided.

    Args:
        curves: by name of the model, as `risk_coverage_curve` returns them
        title: above the curves

    Returns:
        a figure with one line a model
    """
    figure, grid = new_figure(6.5, 4.5)
    axes = grid[0, 0]
    for number, (name, curve) in enumerate(curves.items()):
        label = f"{name} (AURC {curve.area:.4f}, all: {curve.risk[-1]:.2%})"
        marker = {"marker": "o"} if len(curve.risk) == 1 else {}
        axes.plot(curve.coverage, curve.risk, label=label, **line(number), **marker)
    axes.set(xlim=(0, 1.01), xlabel="coverage (share of samples decided)", ylabel="risk (error rate among them)")
    axes.set_ylim(0, min(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter("{x:.1%}")
    axes.set_title(title, fontsize="medium", parse_math=False)
    legend(axes, loc="upper left")
    return figure
