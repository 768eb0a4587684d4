"""What more of something brings in a study: gains between the values of an axis of numbers, and a power law."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from figures.metric_curves import metric_curves
from measures.names import LOWER_IS_BETTER
from measures.repeats import corrected_interval
from measures.scaling import power_law
from pipelines.report.page import Part, Picture, Table, TableCell, drawn, number_cell
from pipelines.report.scaling import place_of
from pipelines.report.study import level_order
from pipelines.report.sweeps import FoundStudy, Labels, Line
from pipelines.report.tables import spoken

# curves of one picture, and rows of a table
CURVES, ROWS = 10, 500
# the axis whose values are parts of the training data
DATA = "data.subsample"


def add_scaling(part: Part, study: FoundStudy, name: str) -> list[Picture]:
    """Add curves of each metric along the first axis of numbers, the gains between its values, and a power law.

    Args:
        part: where to add them
        study: as found
        name: beginning of the pictures' names

    Returns:
        the pictures; none where no axis has two numbers
    """
    x = numeric_axis(study)
    if x is None:
        return []
    families = families_of(study, study.own_axes.index(x))
    pictures = [picture for metric in study.file.metrics if (picture := curves(study, families, x, metric, name))]
    part.blocks += pictures
    gains = gains_table(study, families, x)
    part.blocks += [gains] if gains.rows else []
    if x == DATA and (laws := laws_table(study, families)).rows:
        part.say(
            "A power law through the errors of all runs of a line. What twice the data would bring is extrapolated: no "
            "run was trained on as much. Intervals take runs as independent, which those that share images are not."
        )
        part.blocks.append(laws)
    return pictures


def numeric_axis(study: FoundStudy) -> str | None:
    """Return the first axis of numbers along which settings differ; None where there is none."""
    return next((axis for axis in study.own_axes if is_numeric(study.file.axes[axis])), None)


def families_of(study: FoundStudy, place: int) -> dict[str, dict[float, Line]]:
    """Put lines that differ in one axis alone together, by its numbers.

    Args:
        study: as found
        place: of the axis among the study's own
    """
    found: dict[str, dict[float, Line]] = {}
    for line in study.lines:
        if line.runs and not line.leaks:
            other = ", ".join(label for number, label in enumerate(line.labels) if number != place) or "all cells"
            found.setdefault(other, {})[float(line.labels[place])] = line
    return {name: dict(sorted(family.items())) for name, family in sorted(found.items())}


def curves(study: FoundStudy, families: dict[str, dict[float, Line]], x: str, metric: str, name: str) -> Picture | None:
    """Draw a metric along an axis; None where no line has two numbers."""
    found = {
        other: {number: list(values) for number, line in family.items() if (values := line.values(metric).values())}
        for other, family in families.items()
    }
    shown = dict(sorted(found.items(), key=lambda item: -len(item[1]))[:CURVES])
    if all(len(curve) < 2 for curve in shown.values()):
        return None
    label = spoken(metric)
    more = f"; {CURVES} of {len(found):,}" if len(found) > CURVES else ""
    alt = f"{label} along {x} for {', '.join(shown)}"
    caption = f"{label} along {x}: means over runs, with bars from the lowest to the highest{more}"
    return drawn(f"{name}_{metric}", caption, alt, metric_curves(shown, x, label))


def gains_table(study: FoundStudy, families: dict[str, dict[float, Line]], x: str) -> Table:
    """Build the table of gains between the values of an axis, paired over the repeats that both have."""
    metrics, share = study.file.metrics, study.file.held_share or 0.0
    rows = []
    for other, family in families.items():
        levels = list(family)
        steps = list(pairwise(levels))
        steps += [(levels[0], levels[-1])] if len(levels) > 2 else []
        for low, high in steps:
            cells = [TableCell(other, other), TableCell(f"{low:g} to {high:g}", high - low)]
            cells += [gain_cell(family[low].values(m), family[high].values(m), share) for m in metrics]
            rows.append(cells)
    over = " and ".join(study.file.repeats) or "nothing"
    caption = f"gains along {x}, paired over {over}, with 95 % intervals of each"
    return Table(caption, ["line", x, *map(spoken, metrics)], rows[:ROWS], [False, False, *[True] * len(metrics)])


def gain_cell(before: dict[Labels, float], after: dict[Labels, float], share: float) -> TableCell:
    """Show a mean gain over the repeats that both have, with its interval."""
    gains = [after[key] - before[key] for key in after if key in before]
    if not gains:
        return TableCell("–")
    mean, small = float(np.mean(gains)), ""
    if len(gains) > 1:
        low, high = corrected_interval(gains, share)
        small = f"{low:+.4f} to {high:+.4f}"
    return TableCell(f"{mean:+.4f}", mean, small)


def laws_table(study: FoundStudy, families: dict[str, dict[float, Line]]) -> Table:
    """Build the table of power laws of the metric that sorts: of itself where lower is better, else of 1 less it."""
    metric = study.by
    rows = []
    for other, family in families.items():
        samples, errors = [], []
        for line in family.values():
            for run in line.runs.values():
                count, value = place_of(run, "samples"), run.value(metric)
                if count is not None and value is not None:
                    samples.append(count)
                    errors.append(value if metric in LOWER_IS_BETTER else 1 - value)
        law = power_law(samples, errors) if samples else None
        if law is None:
            continue
        exponent = TableCell(f"{law.exponent:.3f}", law.exponent, f"{law.low:.3f} to {law.high:.3f}")
        twice = TableCell(f"{law.twice:.4f}", law.twice, f"{law.twice_low:.4f} to {law.twice_high:.4f}")
        most, now = number_cell(round(law.samples)), number_cell(law.error, f"{law.error:.4f}")
        rows.append([TableCell(other, other), exponent, most, now, twice])
    error = spoken(metric) if metric in LOWER_IS_BETTER else f"1 less {spoken(metric)}"
    columns = ["line", "exponent", "samples", error, "with twice as many (extrapolated)"]
    return Table(f"{error} as a power of the training samples", columns, rows[:ROWS], [False, *[True] * 4])


def is_numeric(labels: Sequence[str]) -> bool:
    """Tell whether the values of an axis are two finite numbers or more.

    Example:
        >>> is_numeric(["0.1", "1e-3"]), is_numeric(["0.1", "x"]), is_numeric(["1"])
        (True, False, False)
    """
    found = [level_order(label) for label in labels]
    return len(found) > 1 and all(kind == 0 and np.isfinite(number) for kind, number, _ in found)
