"""The report's tables."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from measures.confidence import CONFIDENCE
from measures.influence import METRICS
from measures.names import LOWER_IS_BETTER
from measures.per_class import ClassReport, most_confused
from pipelines.report.comparison import ComparedRun, Comparison
from pipelines.report.configurations import Configuration, repeated_in
from pipelines.report.page import INTERVALS, Table, TableCell, interval_cell, link_to, number_cell
from pipelines.report.runs import FoundRun, Missing
from pipelines.report.study import SHOWN_VALUES, Axis, level_order
from records.csv_files import write_table
from records.damaged_files import dict_at

# more classes than this are summarised by the worst of them
SHOWN_CLASSES = 100
# columns of facts beside the metrics
FACTS = ("parameters", "epochs", "seconds", "checkpoint_mb")


def spoken(metric: str) -> str:
    """Name a metric as a column."""
    return {"checkpoint_mb": "checkpoint in MB"}.get(metric, metric.replace("_", " "))


def runs_table(group: Comparison) -> Table:
    """Build the table of the metrics of all runs of a comparison.

    Args:
        group: runs tested on the same samples
    """
    best, less_best = group.best, "accuracy" in group.metrics
    rows = []
    for run in group.runs:
        # a run that leaks is never the best
        marks = {} if run.leaks else best
        rows.append(
            [
                TableCell(run.label, run.label, style="warn" if run.leaks else ""),
                *(interval_cell(run.metrics.get(metric), marks.get(metric)) for metric in group.metrics),
                *[less_best_cell(group, run)] * less_best,
            ]
        )
    columns = ["run", *map(spoken, group.metrics), *["accuracy less best"] * less_best]
    numeric = [False, *[True] * (len(columns) - 1)]
    return Table(
        f"runs, with {INTERVALS}",
        columns,
        rows,
        numeric,
        *sorted_column(group, columns),
    )


def facts_table(group: Comparison, page: Path) -> Table:
    """Build the table of what the runs of a comparison are: size, training, config and notes.

    Args:
        group: runs tested on the same samples
        page: folder of the page, from which links lead
    """
    rows = []
    for run in group.runs:
        facts = facts_of(run.run)
        rows.append(
            [
                TableCell(run.label, run.label, style=style_of(run)),
                *(number_cell(facts[name], fact_text(name, facts[name])) for name in FACTS),
                config_cell(run.run, page),
                TableCell("; ".join([*(f"LEAKAGE: {text}" for text in run.leaks), *run.notes]), style=style_of(run)),
            ]
        )
    columns = ["run", *map(spoken, FACTS), "config", "notes"]
    if not any(row[-1].text for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table("what the runs are", columns, rows, [False, *[True] * len(FACTS), *[False] * 2][: len(columns)])


def sorted_column(group: Comparison, columns: Sequence[str]) -> tuple[int | None, bool]:
    """Return by which column a table of runs is sorted, and whether from high to low."""
    name = spoken(group.by)
    return columns.index(name) if name in columns else None, group.by not in LOWER_IS_BETTER


def less_best_cell(group: Comparison, run: ComparedRun) -> TableCell:
    """Show how much less accurate a run is than the best one, and whether the two can be told apart.

    Args:
        group: runs tested on the same samples
        run: one of them
    """
    found = interval_cell(run.to_best, signed=True)
    told = run.to_best is None or not group.is_among_best(run)
    return found if told else replace(found, text=f"≈ {found.text}")


def style_of(run: ComparedRun) -> str:
    """Choose how the notes of a run look."""
    return "warn" if run.leaks else ""


def facts_of(run: FoundRun) -> dict[str, float | None]:
    """Return a run's parameters, epochs, seconds of training and size of its checkpoint, as far as is known."""
    fit = dict_at(run.result, "fit")
    found = {
        "parameters": run.result.get("parameters"),
        "epochs": fit.get("epochs"),
        "seconds": fit.get("seconds"),
        "checkpoint_mb": checkpoint_mb(run),
    }
    return {name: value if isinstance(value, int | float) else None for name, value in found.items()}


def checkpoint_mb(run: FoundRun) -> float | None:
    """Return the size of what a run is used by, in MB of 10^6 bytes; None where it has no checkpoint."""
    path = run.files.weights
    return path.stat().st_size / 1e6 if path.is_file() else None


def fact_text(name: str, value: float | None) -> str | None:
    """Write a fact: counts as they are, seconds and sizes with a digit or two."""
    if value is None or name not in ("seconds", "checkpoint_mb"):
        return None
    return f"{value:,.1f}" if name == "seconds" else f"{value:,.2f}"


def config_cell(run: FoundRun, page: Path) -> TableCell:
    """Link to a run's config, if it has one."""
    config = run.files.config
    return TableCell("config", link=link_to(config, page)) if config.is_file() else TableCell("–")


def configurations_table(
    configurations: Sequence[Configuration], metrics: Sequence[str] = METRICS, by: str = "accuracy"
) -> Table:
    """Build the table of means over seeds and folds.

    Args:
        configurations: best first
        metrics: that are shown
        by: the metric that sorts
    """
    best = {}
    for metric in metrics:
        honest = [found for found in configurations if not any(run.leaks for run in found.runs)]
        means = [mean for found in honest if (mean := found.mean(metric)) is not None]
        best[metric] = (min if metric in LOWER_IS_BETTER else max)(means, default=None) if len(means) > 1 else None
    rows = []
    for found in configurations:
        leaks = any(run.leaks for run in found.runs)
        cells = [TableCell(found.label, found.label, style="warn" if leaks else ""), number_cell(len(found.runs))]
        for metric in metrics:
            mean, spread = found.mean(metric), found.spread(metric)
            small = f"± {spread:.4f}" if spread is not None else ""
            style = "best" if mean is not None and mean == best[metric] and not leaks else ""
            cells.append(TableCell("–") if mean is None else TableCell(f"{mean:.4f}", mean, small, style=style))
        rows.append(cells)
    columns = ["configuration", "runs", *map(spoken, metrics)]
    repeated = repeated_in(configurations)
    caption = f"means over runs that differ in their {repeated} alone (± standard deviation between them)"
    order = (2 + list(metrics).index(by) if by in metrics else None, by not in LOWER_IS_BETTER)
    return Table(caption, columns, rows, [False, *[True] * (len(metrics) + 1)], *order)


def class_table(label: str, report: ClassReport, names: Sequence[str]) -> Table:
    """Build the table of classes; beyond a hundred, of those with the lowest F1.

    Args:
        label: of the run
        report: of its predictions
        names: of the classes
    """
    # a class without samples and predictions has no values and is left out
    known = (report.support > 0) | (report.predicted > 0)
    order = np.arange(len(names))
    caption = f"classes of {label}"
    if len(names) > SHOWN_CLASSES:
        order = np.argsort(np.where(known, report.f1, np.inf), kind="stable")[:SHOWN_CLASSES]
        caption += f": the {SHOWN_CLASSES} of {len(names):,} with the lowest F1"
    rows = []
    for number in order.tolist():
        there, said = report.support[number] > 0, report.predicted[number] > 0
        values = [
            float(report.precision[number]) if there or said else None,
            float(report.recall[number]) if there else None,
            float(report.f1[number]) if there or said else None,
            float(report.error_rate[number]) if there else None,
        ]
        cells = [number_cell(value, None if value is None else f"{value:.4f}") for value in values]
        support = number_cell(int(report.support[number]))
        rows.append(
            [TableCell(names[number], names[number]), *cells, support, number_cell(int(report.predicted[number]))]
        )
    columns = ["class", "precision", "recall", "F1", "error rate", "support", "predicted"]
    return Table(caption, columns, rows, [False, *[True] * 6])


def confused_table(label: str, counts: np.ndarray, names: Sequence[str]) -> Table:
    """Build the table of the pairs of classes that a run confuses most often.

    Args:
        label: of the run
        counts: by true class and predicted class
        names: of the classes
    """
    rows = [
        [
            TableCell(names[pair.true], names[pair.true]),
            TableCell(names[pair.predicted], names[pair.predicted]),
            number_cell(pair.count),
            number_cell(pair.share, f"{pair.share:.4f}"),
        ]
        for pair in most_confused(counts)
    ]
    columns = ["true", "predicted", "samples", "share of the true class"]
    return Table(f"most confused pairs of {label}", columns, rows, [False, False, True, True], 2)


def options_table(runs: Sequence[ComparedRun], axes: Sequence[Axis], by: str = "accuracy") -> Table:
    """Build the table of options in which runs differ.

    Args:
        runs: whose they are
        axes: the options
        by: the metric beside them
    """
    rows = []
    for place, run in enumerate(runs):
        levels = [axis.values[place] for axis in axes]
        cells = [TableCell("–") if level is None else TableCell(level, sort_of(level)) for level in levels]
        value = run.value(by)
        shown = number_cell(value, None if value is None else f"{value:.4f}")
        rows.append([TableCell(run.label, run.label), shown, *cells])
    columns = ["run", spoken(by), *(axis.name for axis in axes)]
    numeric = [False, True, *[False] * len(axes)]
    return Table("options in which the runs differ", columns, rows, numeric, 1, by not in LOWER_IS_BETTER)


def sort_of(level: str) -> float | str:
    """Sort by number what is one."""
    kind, number, text = level_order(level)
    return text if kind else number


def axis_table(runs: Sequence[ComparedRun], axis: Axis, metrics: Sequence[str]) -> Table:
    """Build the table of metrics against the values of one option.

    Args:
        runs: whose they are
        axis: the option
        metrics: that are shown
    """
    rows = []
    for level in axis.levels[:SHOWN_VALUES]:
        of = [run for run, value in zip(runs, axis.values, strict=True) if value == level]
        cells = [TableCell(level or "(not an option of these)", sort_of(level or "")), number_cell(len(of))]
        for metric in metrics:
            values = [value for run in of if (value := run.value(metric)) is not None]
            mean = float(np.mean(values)) if values else None
            small = f"{min(values):.4f} to {max(values):.4f}" if len(values) > 1 else ""
            cells.append(TableCell("–") if mean is None else TableCell(f"{mean:.4f}", mean, small))
        rows.append(cells)
    columns = [axis.name, "runs", *map(spoken, metrics)]
    more = f", the first {SHOWN_VALUES} of its {len(axis.levels)} values" if len(axis.levels) > SHOWN_VALUES else ""
    return Table(
        f"{axis.name}{more}: means, and from the lowest to the highest",
        columns,
        rows,
        [False, *[True] * (len(metrics) + 1)],
    )


def missing_table(missing: Sequence[Missing]) -> Table:
    """Build the table of runs without a result.

    Args:
        missing: which they are
    """
    rows = []
    for run in missing:
        accuracy = run.val.get("accuracy")
        rows.append(
            [
                TableCell(run.label, run.label),
                TableCell(run.state, run.state),
                number_cell(accuracy, None if accuracy is None else f"{accuracy:.4f}"),
                TableCell(run.command or "–"),
            ]
        )
    columns = ["run", "what is missing", "validation accuracy", "command that continues it"]
    return Table("runs without a result", columns, rows, [False, False, True, False])


def comparison_csv(groups: Sequence[Comparison], missing: Sequence[Missing], split: str) -> str:
    """Put all runs into one CSV table; a run without a result has no numbers.

    Args:
        groups: runs with a result, by the samples they were tested on
        missing: those without
        split: which is reported on
    """
    columns = ["run", "folder", "split", "state", "samples_group", "samples", "leakage"]
    metrics = tuple(dict.fromkeys((*METRICS, *(name for group in groups for name in (*group.metrics, group.by)))))
    for metric in metrics:
        columns += [metric, f"{metric}_low", f"{metric}_high"]
    columns += [
        "accuracy_less_best",
        "accuracy_less_best_low",
        "accuracy_less_best_high",
        "among_best",
        *CONFIDENCE,
        *FACTS,
        "notes",
    ]
    text = io.StringIO()
    rows: list[dict[str, Any]] = []
    for number, group in enumerate(groups, 1):
        for run in group.runs:
            row: dict[str, Any] = {
                "run": run.run.label,
                "folder": str(run.run.files.folder),
                "split": split,
                "state": "tested" if split == "test" else "validated",
                "samples_group": number,
                "samples": group.samples,
                "leakage": "; ".join(run.leaks),
                "among_best": ("yes" if group.is_among_best(run) else "no") if run.predicted else None,
                "notes": "; ".join(run.notes),
                **run.confidence,
                **facts_of(run.run),
            }
            intervals = {metric: run.metrics.get(metric) for metric in metrics} | {"accuracy_less_best": run.to_best}
            for name, interval in intervals.items():
                for end, column in (("value", name), ("low", f"{name}_low"), ("high", f"{name}_high")):
                    row[column] = (interval or {}).get(end)
            rows.append(row)
    for absent in missing:
        rows.append({"run": absent.label, "folder": str(absent.folder), "split": split, "state": absent.state})
    write_table(text, columns, rows)
    return text.getvalue()
