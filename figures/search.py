"""A search of options: what each trial reached, how much each option matters, and which values went together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import COLORS, NEUTRAL, SEQUENTIAL, bar, legend, new_figure, shortened, whole_numbers

NAME_LIMIT = 34
# the light end of the shades is too faint for a line
LIGHTEST = 0.25
# words of an axis stand apart by this share of its height
APART = 0.06


@dataclass(frozen=True)
class Coordinate:
    """One axis of parallel coordinates.

    Args:
        label: its name
        values: of each trial: a number, or the place of its choice
        log: whether it is logarithmic
        choices: what stands at places 0, 1, ...; empty for numbers
    """

    label: str
    values: Sequence[float]
    log: bool = False
    choices: Sequence[str] = ()

    def places(self) -> NDArray[np.float64]:
        """Return where each trial lies, from 0 to 1; shape `(trial,)`."""
        values = self._scaled(self.values)
        low, high = self._ends()
        return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)

    def ticks(self) -> dict[float, str]:
        """Return what is written along the axis, by place."""
        if self.choices:
            count = max(1, len(self.choices) - 1)
            names = {number / count if len(self.choices) > 1 else 0.5: name for number, name in enumerate(self.choices)}
            # too many to read: as many as there is room for
            step = -(-len(names) // int(1 / APART))
            return {place: shortened(name, 18) for place, name in list(names.items())[::step]}
        low, high = min(self.values), max(self.values)
        return {0.5: f"{low:.3g}"} if low == high else {0.0: f"{low:.3g}", 1.0: f"{high:.3g}"}

    def _scaled(self, values: Sequence[float]) -> NDArray[np.float64]:
        numbers = np.asarray(values, dtype=np.float64)
        return np.log(numbers) if self.log else numbers

    def _ends(self) -> tuple[float, float]:
        if self.choices:
            return 0.0, float(len(self.choices) - 1)
        values = self._scaled(self.values)
        return float(values.min()), float(values.max())


def search_history(
    values: Mapping[int, float], ended_early: Mapping[int, float], maximize: bool, metric: str = "val/accuracy"
) -> Figure:
    """Draw what each trial reached, and the best so far.

    Args:
        values: of the trials that were trained to their end, by number
        ended_early: what others had reached when they were ended
        maximize: whether more is better
        metric: by which trials are compared

    Returns:
        a figure with one axes
    """
    figure, grid = new_figure(8, 4.2)
    axes = grid[0, 0]
    numbers = sorted(values)
    axes.plot(
        numbers, [values[number] for number in numbers], "o", color=COLORS[5], markeredgecolor=COLORS[0], label="trial"
    )
    if ended_early:
        early = sorted(ended_early)
        axes.plot(early, [ended_early[n] for n in early], "x", color=NEUTRAL, label="ended early: its last value")
    if numbers:
        best = (np.maximum if maximize else np.minimum).accumulate([values[number] for number in numbers])
        axes.step(numbers, best, where="post", color=COLORS[1], label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(metric, parse_math=False)
    whole_numbers(axes.xaxis)
    legend(figure, loc="outside lower center", ncols=3)
    return figure


def importances(shares: Mapping[str, float], metric: str = "val/accuracy") -> Figure:
    """Draw how much each option matters.

    Args:
        shares: of the metric's variance between trials, by option
        metric: by which trials are compared

    Returns:
        a figure with a bar for each option, the most important one on top
    """
    ranked = sorted(shares.items(), key=lambda item: item[1])
    figure, grid = new_figure(8, 1.2 + 0.4 * len(ranked))
    axes = grid[0, 0]
    names = [shortened(name, NAME_LIMIT) for name, _ in ranked]
    bars = axes.barh(np.arange(len(ranked)), [share for _, share in ranked], **bar(0))
    axes.bar_label(bars, [f"{share:.0%}" for _, share in ranked], padding=3, fontsize="small")
    axes.set_yticks(np.arange(len(ranked)), names, fontsize="small", parse_math=False)
    axes.set_xlim(0, max(1.0, *shares.values()) * 1.08)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"share of the variance of {metric} between trials", parse_math=False)
    return figure


def parallel_coordinates(
    coordinates: Sequence[Coordinate], values: Sequence[float], maximize: bool, metric: str = "val/accuracy"
) -> Figure:
    """Draw a line for each trial through its values, and through what it reached.

    Args:
        coordinates: an axis for each option
        values: what each trial reached
        maximize: whether more is better
        metric: by which trials are compared

    Returns:
        a figure with one axes; the best trial is drawn last, in another colour
    """
    axes_of = [*coordinates, Coordinate(metric, values)]
    figure, grid = new_figure(max(6.0, 1.9 * len(axes_of)), 4.6)
    axes: Axes = grid[0, 0]
    places = np.stack([coordinate.places() for coordinate in axes_of], axis=1)
    scale = Normalize(min(values), max(values)) if min(values) < max(values) else Normalize(0, 1)
    map_ = mpl.colormaps[SEQUENTIAL if maximize else f"{SEQUENTIAL}_r"]
    order = np.argsort(values, kind="stable") if maximize else np.argsort(-np.asarray(values), kind="stable")
    for number in order:
        shade = float(scale(values[number]))
        shade = LIGHTEST + (1 - LIGHTEST) * shade if maximize else (1 - LIGHTEST) * shade
        axes.plot(range(len(axes_of)), places[number], color=map_(shade), linewidth=1.4, alpha=0.85)
    axes.plot(range(len(axes_of)), places[order[-1]], color=COLORS[1], linewidth=2.4, label="the best trial")
    for number, coordinate in enumerate(axes_of):
        axes.axvline(number, color="black", linewidth=0.8)
        for place, text in coordinate.ticks().items():
            # beside the last axis there is room on its right
            options: dict[str, Any] = {"ha": "left", "va": "center", "fontsize": "small", "parse_math": False}
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
            axes.text(number + 0.02, place, text, bbox=box, **options)
    names = [shortened(coordinate.label) for coordinate in axes_of]
    axes.set_xticks(range(len(axes_of)), names, fontsize="small", parse_math=False)
    axes.set_yticks([])
    axes.set_xlim(-0.05, len(axes_of) - 0.7)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    figure.colorbar(ScalarMappable(scale, map_), ax=axes, label=shortened(metric), fraction=0.04, pad=0.02)
    legend(figure, loc="outside lower center")
    return figure
