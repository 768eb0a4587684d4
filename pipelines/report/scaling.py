"""A metric along one option, with a line for each value of another: scaling curves."""

from collections.abc import Sequence

import numpy as np

from figures.metric_curves import metric_curves
from pipelines.report.comparison import ComparedRun, Comparison
from pipelines.report.page import Part, Picture, Table, TableCell, drawn, number_cell
from pipelines.report.study import level_order
from pipelines.report.tables import facts_of, spoken
from records.damaged_files import dict_at

# curves in one picture
CURVES = 10
# what the axis may be beside an option: facts of a run
FACTS = ("parameters", "seconds", "epochs", "samples")

Curves = dict[str, dict[float, list[float]]]


def add_scaling(part: Part, group: Comparison, x: str, lines: str, name: str) -> list[Picture]:
    """Add the curves of the metric that sorts the runs, and their table.

    Args:
        part: where to add them
        group: runs tested on the same samples
        x: option or fact along which curves go
        lines: option with a curve for each of its values
        name: beginning of the picture's name

    Returns:
        the picture; none where no two runs differ in `x`
    """
    curves, left = curves_of(group.runs, x, lines, group.by)
    places = {place for curve in curves.values() for place in curve}
    if len(places) < 2:
        part.say(f"No scaling curves: the runs do not have two values of {x} that are numbers.")
        return []
    shown = dict(sorted(curves.items(), key=lambda item: -len(item[1]))[:CURVES])
    part.say(
        f"Each curve is a value of {lines}, along {x}: means over runs, which may differ in other options too; bars go "
        f"from the lowest run to the highest."
        + (f" Without a number for {x}, {left:,} runs are left out." if left else "")
        + (f" The {CURVES} of {len(curves):,} curves with the most values are drawn." if len(curves) > CURVES else "")
    )
    label = spoken(group.by)
    alt = f"{label} along {x} for {', '.join(shown)}"
    picture = drawn(f"{name}_scaling", f"{label} along {x}, a line a {lines}", alt, metric_curves(shown, x, label))
    part.blocks += [picture, scaling_table(curves, x, lines, label)]
    return [picture]


def curves_of(runs: Sequence[ComparedRun], x: str, lines: str, metric: str) -> tuple[Curves, int]:
    """Put the runs' metric by the value of one option and the number of another.

    Args:
        runs: tested on the same samples
        x: option or fact along which curves go
        lines: option with a curve for each of its values
        metric: its name

    Returns:
        by value of `lines`, by number of `x`: the metric of each run there; and how many runs have no such number.
        Runs that leak are left out
    """
    found: Curves = {}
    left = 0
    for run in runs:
        place, value = place_of(run, x), run.value(metric)
        if run.leaks or value is None:
            continue
        if place is None:
            left += 1
            continue
        found.setdefault(run.settings.get(lines, "–"), {}).setdefault(place, []).append(value)
    return dict(sorted(found.items(), key=lambda item: level_order(item[0]))), left


def place_of(run: ComparedRun, x: str) -> float | None:
    """Return the number of an option, or of a fact such as the parameters or training samples; None without one."""
    if x == "samples":
        count = dict_at(run.run.result, "samples").get("train")
        return float(count) if isinstance(count, int | float) else None
    if x in FACTS:
        return facts_of(run.run)[x]
    kind, number, _ = level_order(run.settings.get(x))
    return number if kind == 0 and np.isfinite(number) else None


def scaling_table(curves: Curves, x: str, lines: str, label: str) -> Table:
    """Build the table of curves: a row a value of `lines`, a column a number of `x`.

    Args:
        curves: as of `curves_of`
        x: option or fact along which curves go
        lines: option with a curve for each of its values
        label: of the metric
    """
    places = sorted({place for curve in curves.values() for place in curve})
    rows = []
    for name, curve in curves.items():
        cells = []
        for place in places:
            values = curve.get(place, [])
            mean = float(np.mean(values)) if values else None
            cell = number_cell(mean, None if mean is None else f"{mean:.4f}")
            spread = f"± {np.std(values, ddof=1):.4f} ({len(values)})" if len(values) > 1 else ""
            cells.append(TableCell(cell.text, cell.sort, spread))
        rows.append([TableCell(name, name), *cells])
    columns = [lines, *(f"{place:g}" for place in places)]
    caption = f"mean {label} along {x} (± standard deviation between runs, in brackets their number)"
    return Table(caption, columns, rows, [False, *[True] * len(places)])
