"""How a run's loss, accuracy, learning rate and throughput went."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import bar, legend, line, new_figure, whole_numbers

Series = tuple[NDArray[np.floating], NDArray[np.floating]]


def learning_curves(curves: Mapping[str, Series], best_epoch: int | None = None, title: str = "") -> Figure:
    """Draw the training of one run.

    Args:
        curves: by name as in metrics.csv (`train/loss`, `val/loss`, `train/accuracy`, `val/accuracy`, `lr-*`,
            `speed/images_per_second`): epochs, or steps of learning rates, and values; see `series_of`
        best_epoch: to mark; None marks none
        title: above the curves

    Returns:
        a figure with loss and accuracy, and learning rate and throughput where they are known
    """
    rates = sorted(name for name in curves if name.startswith("lr-"))
    speed = curves.get("speed/images_per_second")
    panels = ["loss", "accuracy", *(["learning rate"] if rates else []), *(["throughput"] if speed else [])]
    rows = -(-len(panels) // 2)
    figure, grid = new_figure(11, 3.6 * rows, rows, 2)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.set(xlabel="epoch", ylabel=panel)
        whole_numbers(axes.xaxis)
        if panel in ("loss", "accuracy"):
            for number, (split, label) in enumerate((("train", "training"), ("val", "validation"))):
                _plot(axes, curves.get(f"{split}/{panel}"), label, number)
            if best_epoch is not None and best_epoch >= 0:
                axes.axvline(best_epoch, color="black", linestyle=":", linewidth=1.2, label=f"best: epoch {best_epoch}")
        elif panel == "learning rate":
            groups = _alike({name.removeprefix("lr-"): curves[name] for name in rates})
            for number, (names, series) in enumerate(groups):
                _plot(axes, series, "\n".join(names), number, markers=False)
            axes.set_xlabel("optimizer step")
            axes.set_ylim(bottom=0)
        else:
            assert speed is not None
            axes.bar(*speed, width=0.8, **bar(0))
            axes.set_ylabel("images a second")
            axes.yaxis.set_major_formatter("{x:,.0f}")
        if not axes.has_data():
            axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)
        legend(axes)
    figure.suptitle(title, fontsize="medium", parse_math=False)
    return figure


def _plot(axes, series: Series | None, label: str, number: int, markers: bool = True) -> None:  # type: ignore[no-untyped-def]
    if series is not None and len(series[0]):
        axes.plot(*series, label=label, **line(number, marker=len(series[0]) <= (40 if markers else 1)))


def _alike(curves: Mapping[str, Series]) -> list[tuple[list[str], Series]]:
    # curves that lie over each other are drawn as one
    groups: list[tuple[list[str], Series]] = []
    for name, series in curves.items():
        same = [names for names, known in groups if all(map(np.array_equal, known, series))]
        if same:
            same[0].append(name)
        else:
            groups.append(([name], series))
    return groups


def series_of(rows: Sequence[Mapping[str, str]]) -> dict[str, Series]:
    """Turn the rows of a metrics.csv into curves.

    Args:
        rows: as `csv.DictReader` reads them, in order

    Returns:
        by metric: epochs (of learning rates: optimizer steps) and values; of an epoch that was repeated after a stop,
        the later values
    """
    curves = {}
    for name in rows[0] if rows else ():
        axis = "step" if name.startswith("lr-") else "epoch"
        found = {float(row[axis]): float(row[name]) for row in rows if row.get(name) and row.get(axis)}
        if found and name not in ("epoch", "step"):
            places = sorted(found)
            curves[name] = (np.array(places), np.array([found[place] for place in places]))
    return curves
