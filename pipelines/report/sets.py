"""Prediction sets in the report: how often they hold the true class, and how large they are, as result.json has it."""

from collections.abc import Mapping, Sequence
from typing import Any

from figures.prediction_sets import prediction_sets
from measures.set_coverage import named, spoken
from pipelines.report.comparison import ComparedRun
from pipelines.report.page import INTERVALS, Part, Picture, Table, TableCell, drawn, interval_cell, number_cell
from records.damaged_files import dict_at, is_number
from records.fields import problems

COLUMNS = ("run", "sets", "calibrated on", "covered", "mean size", "median size", "largest", "lowest class", "by class")
ROW = {"samples": int, "covered": {"value": object, "low": object, "high": object}}
# what is read here of what `set_report` returns
REPORT = {
    "method": str,
    "coverage": float,
    "by": str,
    "empty": bool,
    "calibrated_on": {"split": str, "samples": int, "range": [float]},
    "samples": int,
    "covered": {"value": float, "low": object, "high": object},
    "first_right": float,
    "size": {"mean": float, "median": float, "largest": int, "sizes": [{"classes": int, **ROW}]},
    "classes": [{"name": str, **ROW}],
    "versions": {},
}


def add_sets(section: Part, runs: Sequence[ComparedRun], name: str) -> list[Picture]:
    """Add the table of the runs' prediction sets, and a picture of those of the best run.

    Args:
        section: where to add them
        runs: tested on the same samples, best first
        name: beginning of the picture's name

    Returns:
        the picture; none where no run has sets
    """
    found = [(run, dict_at(run.run.result, "test_sets")) for run in runs]
    # of an earlier version, without sets, or changed by hand
    found = [(run, report) for run, report in found if not list(problems(report, REPORT, ""))]
    if not found:
        return []
    best, report = found[0]
    section.blocks.append(sets_table(found))
    figure = prediction_sets(report, f"{best.label}: {sets_name(report)}")
    picture = drawn(f"{name}_sets", f"prediction sets of {best.label}", f"{best.label}: {spoken(report)}", figure)
    section.blocks.append(picture)
    return [picture]


def sets_name(report: Mapping[str, Any]) -> str:
    """Name the sets of a report."""
    return named(report["coverage"], report["method"], report["by"])


def sets_table(found: Sequence[tuple[ComparedRun, Mapping[str, Any]]]) -> Table:
    """Build the table of runs' prediction sets.

    Args:
        found: runs, with what `set_report` returned for each
    """
    rows = []
    for run, report in found:
        size, on, versions = report["size"], report["calibrated_on"], report["versions"]
        low, high = on["range"]
        by_class, least = dict_at(versions, "class"), dict_at(versions, report["by"]).get("least_of_a_class")
        rows.append(
            [
                TableCell(run.label, run.label),
                TableCell(sets_name(report), sets_name(report)),
                TableCell(
                    f"{on['samples']:,} {on['split']}", on["samples"], f"new calibrations: {low:.3f} to {high:.3f}"
                ),
                interval_cell(report["covered"]),
                number_cell(size["mean"], f"{size['mean']:.2f}"),
                number_cell(size["median"], f"{size['median']:g}"),
                number_cell(size["largest"]),
                number_cell(least, f"{least:.4f}") if is_number(least) else TableCell("–"),
                interval_cell(by_class.get("covered")),
            ]
        )
    caption = (
        f"prediction sets: share of images whose set holds the true class, with {INTERVALS}; by class: the same for "
        "sets that are calibrated for each class apart"
    )
    return Table(caption, COLUMNS, rows, [False, False, *[True] * (len(COLUMNS) - 2)])
