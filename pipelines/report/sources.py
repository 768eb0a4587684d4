"""Runs by the source of their images, and by pairs of sources, as result.json has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from figures.grouped_bars import grouped_bars
from measures.by_source import PAIR_METRICS, PairRow, pair_rows
from pipelines.report.comparison import ComparedRun
from pipelines.report.page import Part, Picture, Table, TableCell, drawn, number_cell
from records.damaged_files import dict_at, is_number

# runs and sources in the picture, and pairs in the table
RUNS, SOURCES, PAIRS = 8, 8, 200
SHOWN = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "nll", "ece")
PAIR_TITLES = {"auroc": "AUROC", "f1": "F1", "accuracy": "accuracy"}


def add_sources(part: Part, runs: Sequence[ComparedRun], split: str, name: str) -> list[Picture]:
    """Add the metrics of each source, and pairs of sources of the best run that has them.

    Args:
        part: where to add them
        runs: tested on the same samples, best first
        split: test or val
        name: beginning of the picture's name

    Returns:
        the picture; none where images come from one source alone, or from none that is known
    """
    found = [(run, dict_at(run.run.result, f"{split}_by_source")) for run in runs]
    found = [(run, sources) for run, sources in found if any(isinstance(row, Mapping) for row in sources.values())]
    if not found:
        return []
    part.blocks.append(sources_table(found))
    pictures = []
    names = list(dict.fromkeys(name for _, sources in found[:RUNS] for name in sources))
    if 1 < len(names) <= SOURCES:
        values = np.array([[accuracy_of(sources, source) for source in names] for _, sources in found[:RUNS]])
        labels = [run.label for run, _ in found[:RUNS]]
        picture = drawn(
            f"{name}_sources",
            "accuracy by source" + (f"; the best {RUNS} of {len(found):,} runs" if len(found) > RUNS else ""),
            f"bars of accuracy by source of {', '.join(labels)}",
            grouped_bars(values, labels, names, label="accuracy by source"),
        )
        part.blocks.append(picture)
        pictures.append(picture)
    best, _ = found[0]
    if pairs := pair_rows(best.run.result, split):
        part.say(
            "Pairs: how well images of a class from one source are told from images of other classes from another. "
            "Where values across sources differ from those within one, the model may have learnt the source."
        )
        part.blocks.append(pairs_table(best.label, pairs))
    return pictures


def accuracy_of(sources: Mapping[str, Any], name: str) -> float:
    """Return the accuracy on a source; NaN where there is none."""
    value = dict_at(dict(sources), name).get("accuracy")
    return float(value) if isinstance(value, int | float) else float("nan")


def sources_table(found: Sequence[tuple[ComparedRun, Mapping[str, Any]]]) -> Table:
    """Build the table of runs by source.

    Args:
        found: runs, with their metrics by source
    """
    rows = []
    for run, sources in found:
        for name in sources:
            values = dict_at(dict(sources), name)
            numbers = [values.get(metric) for metric in SHOWN]
            count = values.get("samples")
            rows.append(
                [
                    TableCell(run.label, run.label, style="warn" if run.leaks else ""),
                    TableCell(str(name), str(name)),
                    number_cell(count if isinstance(count, int) else None),
                    *(number_cell(n, f"{n:.4f}") if is_number(n) else TableCell("–") for n in numbers),
                ]
            )
    columns = ["run", "source", "images", *(metric.replace("_", " ") for metric in SHOWN)]
    return Table("runs by source of the images", columns, rows, [False, False, *[True] * (len(columns) - 2)])


def pairs_table(label: str, pairs: Sequence[PairRow]) -> Table:
    """Build the table of pairs of sources, the lowest AUROC first and those without one last.

    Args:
        label: of the run
        pairs: as of `pair_rows`
    """
    ordered = sorted(pairs, key=lambda pair: 2.0 if (auroc := pair[3].get("auroc")) is None else auroc)
    rows = []
    for name, one, other, values in ordered[:PAIRS]:
        cells = [pair_cell(values[metric]) if metric in values else TableCell("–") for metric in PAIR_METRICS]
        rows.append([TableCell(name, name), TableCell(one, one), TableCell(other, other), *cells])
    more = f"; the {PAIRS} of {len(pairs):,} with the lowest AUROC" if len(pairs) > PAIRS else ""
    columns = ["class", "its images from", "others from", *(PAIR_TITLES[metric] for metric in PAIR_METRICS)]
    return Table(f"pairs of sources of {label}{more}", columns, rows, [False] * 3 + [True] * 3, 3, falling=False)


def pair_cell(value: float | None, small: str = "") -> TableCell:
    """Show what a pair of sources is measured by, which needs images of the class and images of others."""
    return TableCell("undefined") if value is None else TableCell(f"{value:.4f}", value, small)
