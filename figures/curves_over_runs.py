"""Training curves of several runs over each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from figures.style import line, new_figure, plain, shortened, whole_numbers

NAME_LIMIT = 34
Curve = tuple[Sequence[float], Sequence[float]]


def curves_over_runs(curves: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Draw a panel for each quantity, with a line for each run; a run keeps its colour, dashes and marker.

    Args:
        curves: by quantity such as val/accuracy, by run: epochs and values

    Returns:
        a figure with an axes for each quantity, two in a row
    """
    runs = list(dict.fromkeys(run for lines in curves.values() for run in lines))
    columns = min(2, max(1, len(curves)))
    rows = -(-max(1, len(curves)) // columns)
    key_rows = -(-len(runs) // 3)
    figure, grid = new_figure(5.2 * columns, 3.2 * rows + 0.22 * key_rows, rows, columns)
    handles: dict[str, Any] = {}
    for place in range(len(curves), rows * columns):
        grid[divmod(place, columns)].set_axis_off()
    for place, (quantity, lines) in enumerate(curves.items()):
        axes = grid[divmod(place, columns)]
        for run, (epochs, values) in lines.items():
            style = line(runs.index(run), marker=True)
            every = max(1, len(epochs) // 6)
            handles[run] = axes.plot(epochs, values, markevery=every, **style)[0]
        values = [value for _, lasting in lines.values() for value in lasting]
        # the first epochs of a loss would hide what follows
        if quantity.endswith("loss") and min(values) > 0 and max(values) > 10 * min(values):
            axes.set_yscale("log")
        axes.set_title(quantity, fontsize="medium", parse_math=False)
        axes.set_xlabel("epoch")
        whole_numbers(axes.xaxis)
    if handles:
        names = [shortened(run, NAME_LIMIT) for run in handles]
        plain(
            figure.legend(handles.values(), names, loc="outside lower center", ncols=3, fontsize="x-small").get_texts()
        )
    return figure
