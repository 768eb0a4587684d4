"""What accuracy costs."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from figures.labels import write_names
from figures.style import COLORS, new_figure, shortened


def cost_accuracy(
    names: Sequence[str], costs: Sequence[float], values: Sequence[float], front: Sequence[bool], cost: str
) -> Figure:
    """Draw models by cost and accuracy, and the front of those that no cheaper one beats.

    Args:
        names: of the models
        costs: of each, above 0
        values: accuracy of each
        front: which lie on the front
        cost: label of the cost

    Returns:
        a figure with one axes, the cost on a logarithmic scale if it spans more than a factor of ten
    """
    figure, grid = new_figure(8, 4.8)
    axes = grid[0, 0]
    edge = sorted((at, value) for at, value, best in zip(costs, values, front, strict=True) if best)
    axes.plot([at for at, _ in edge], [value for _, value in edge], "--", color=COLORS[0], label="Pareto front")
    rows = sorted(zip(costs, values, names, front, strict=True), key=lambda row: (row[0], -row[1]))
    for at, value, _, best in rows:
        look = {"marker": "o" if best else "s", "color": COLORS[0] if best else "white", "zorder": 4 if best else 3}
        axes.plot(at, value, linestyle="", markeredgecolor=COLORS[0], **look)
    if min(costs) > 0 and max(costs) > 10 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.2)
    axes.set_xlabel(cost)
    axes.set_ylabel("accuracy")
    axes.legend(loc="lower right", fontsize="small")
    write_names(axes, [(at, value, shortened(name)) for at, value, name, _ in rows])
    return figure
