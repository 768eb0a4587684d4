"""Runs that predict numbers, compared in pairs on the samples that all of them were tested on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from measures.intervals import MIN_UNITS, Interval, numbered, standard_error
from pipelines.report.comparison import ComparedRun, Comparison
from pipelines.report.page import Part, Table, TableCell, interval_cell
from pipelines.report.runs import SavedValues

# runs that are named as not told from the best one
SHOWN = 10


def add_values(section: Part, group: Comparison, split: str) -> None:
    """Add the difference of each run's MSE to the best one's, and say which cannot be told from it.

    Args:
        section: where to add it
        group: runs that predict numbers
        split: test or val
    """
    found: list[tuple[ComparedRun, SavedValues]] = []
    for run in group.runs:
        try:
            values = run.run.values(split)
        except ValueError as error:
            section.say(f"{error}: it is not compared in pairs.", "warn")
            continue
        if values is not None and not run.leaks:
            found.append((run, values))
    if len(found) < 2:
        return
    best, differences = differences_to_best([values for _, values in found])
    name = found[best][0].label
    rows, alike = [], []
    for number, ((run, _), difference) in enumerate(zip(found, differences, strict=True)):
        told = difference["low"] is not None and difference["low"] > 0
        alike += [run.label] if number != best and not told else []
        cell = interval_cell(None if number == best else difference, signed=True)
        rows.append([TableCell(run.label, run.label), cell])
    title = f"MSE less that of {name}, paired; the 95 % intervals hold for all runs together"
    section.blocks.append(Table(title, ["run", "mse less best"], rows, [False, True]))
    if not alike:
        section.say(f"{name} has a lower MSE than each of the others beyond noise.")
        return
    shown = ", ".join(alike[:SHOWN]) + (f" and {len(alike) - SHOWN} more" if alike[SHOWN:] else "")
    section.say(f"≈ {len(alike):,} of the other {len(found) - 1:,} runs cannot be told from {name}: {shown}.")


def differences_to_best(runs: Sequence[SavedValues]) -> tuple[int, list[Interval]]:
    """Return the run of the lowest MSE, and each run's MSE less that one's.

    The best one was chosen on the same samples: the intervals allow for every pair of runs (Bonferroni).

    Args:
        runs: all on the same samples, in any order

    Returns:
        number of the best, and by run the difference with its interval; none where there are too few samples or groups
    """
    errors = np.stack([squares(run) for run in runs])
    best = int(errors.mean(1).argmin())
    groups = next((run.groups[run.ids.argsort()] for run in runs if run.groups is not None), None)
    unit = numbered(groups)
    units = errors.shape[1] if unit is None else int(unit.max()) + 1
    found: list[Interval] = []
    for row in errors:
        change = row - errors[best]
        value = float(change.mean())
        if units < MIN_UNITS:
            found.append({"value": value, "low": None, "high": None})
            continue
        error, quantile = standard_error(change - value, unit, pairs=len(runs) * (len(runs) - 1) // 2)
        found.append({"value": value, "low": value - quantile * error, "high": value + quantile * error})
    return best, found


def squares(run: SavedValues) -> NDArray[np.float64]:
    """Return the square of each sample's error, by rising id."""
    order = run.ids.argsort()
    return (run.predictions - run.values)[order].double().square().numpy()
