"""Thresholds for a class that is looked for, in the report: chosen on held-out images, measured on the report's."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.comparison import ComparedRun
from pipelines.report.page import INTERVALS, Part, Table, TableCell, interval_cell, number_cell
from records.damaged_files import dict_at
from records.fields import problems

RATE = {"samples": int, "value": object, "low": object, "high": object}
# what is read here of what `operating_point` returns
POINT = {
    "class": str,
    "wanted": float,
    "threshold": float,
    "chosen_on": {"split": str, "samples": int},
    "sensitivity": RATE,
    "specificity": RATE,
}


def point_of(run: ComparedRun, split: str) -> dict[str, Any]:
    """Return the threshold that a run's result names, with its rates; empty where there is none."""
    found = dict_at(run.run.result, f"{split}_threshold")
    # of an earlier version, without a threshold, or changed by hand
    return {} if list(problems(found, POINT, "")) else found


def add_thresholds(part: Part, runs: Sequence[ComparedRun], split: str) -> None:
    """Add the table of the runs' thresholds, where two classes have one that is looked for.

    Args:
        part: where to add it
        runs: evaluated on the same samples, best first
        split: test or val
    """
    found = [(run, point) for run in runs if (point := point_of(run, split))]
    if found:
        part.blocks.append(thresholds_table(found))
    for run in runs:
        reason = dict_at(run.run.result, f"{split}_threshold").get("missing")
        if isinstance(reason, str):
            part.say(f"{run.label} has no threshold: {reason}.")


def thresholds_table(found: Sequence[tuple[ComparedRun, Mapping[str, Any]]]) -> Table:
    """Build the table of thresholds.

    Args:
        found: runs, with what `operating_point` returned for each
    """
    rows = []
    for run, point in found:
        on = point["chosen_on"]
        rows.append(
            [
                TableCell(run.label, run.label),
                TableCell(point["class"], point["class"]),
                number_cell(point["wanted"], f"{100 * point['wanted']:g} %"),
                number_cell(point["threshold"], f"{point['threshold']:.4g}"),
                TableCell(f"{on['samples']:,} {on['split']}", on["samples"]),
                interval_cell(point["sensitivity"]),
                interval_cell(point["specificity"]),
            ]
        )
    columns = ["run", "positive class", "wanted specificity", "threshold", "chosen on", "sensitivity", "specificity"]
    caption = (
        "probability of the positive class above which an image counts as positive, chosen for the wanted specificity "
        f"on held-out images of the other class; with {INTERVALS}"
    )
    return Table(caption, columns, rows, [False, False, *[True] * 5], 5)
