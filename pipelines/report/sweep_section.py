"""The section of a study: its lines by their axes, how sure their order is, and its curves."""

from collections.abc import Sequence

import numpy as np

from common.few import few
from measures.names import LOWER_IS_BETTER
from pipelines.report.page import Picture, Section, Table, TableCell, Verdict, number_cell
from pipelines.report.study import level_order
from pipelines.report.sweep_scaling import add_scaling
from pipelines.report.sweep_sources import add_study_sources
from pipelines.report.sweeps import Figure, FoundStudy, Pair, pairs_of
from pipelines.report.tables import checkpoint_mb, fact_text, spoken

# lines of a study that the tables show
LINES = 500
# cells that are named as missing
NAMED = 30


def study_section(study: FoundStudy, name: str) -> tuple[Section, list[Picture]]:
    """Build the section of a study.

    Args:
        study: as found
        name: beginning of the pictures' names, and the section's address

    Returns:
        the section, and the pictures in it
    """
    cells, missing = len(study.file.cells), study.missing
    section = Section(f"study {study.folder.name}: {cells - len(missing):,} of {cells:,} cells", name)
    if missing:
        section.say(
            f"{len(missing):,} of {cells:,} planned cells have no result, so nothing is claimed for them: "
            f"{few(missing, NAMED)}.",
            "warn",
        )
    for line in study.lines[:LINES]:
        for note in dict.fromkeys(line.notes):
            section.say(f"{line.name}: {note}, so its predictions are not pooled.", "warn")
    if not study.runs:
        return section, []
    section.say(how_measured(study))
    section.blocks.append(lines_table(study))
    pairs, count = pairs_of(study)
    if pairs:
        section.say(ranking(study, pairs))
        section.part("comparisons").blocks.append(pairs_table(study, pairs, count))
    if study.file.pooled is not None:
        section.part("parts").blocks.append(parts_table(study))
    pictures = add_study_sources(section.part("sources"), study, name)
    return section, [*pictures, *add_scaling(section.part("scaling"), study, name)]


def how_measured(study: FoundStudy) -> str:
    """Say what the numbers of a study are, and what their intervals hold for."""
    file = study.file
    if file.pooled is not None:
        parts = len(file.axes[file.pooled])
        seeds = " With several seeds they are means." if len(file.repeats) > 1 else ""
        return (
            f"Each of the {parts} parts of the data was the test split once ({file.pooled}), and their predictions are "
            f"pooled: numbers and 95 % intervals are of one data set.{seeds}"
        )
    if not file.repeats:
        return f"One run a line, measured on {file.split}: 95 % intervals are of one training, on other images."
    if file.held_share is not None:
        return (
            f"Means over {' and '.join(file.repeats)}, measured on {file.split} (± standard deviation between runs). "
            f"Folds share training images, so the 95 % intervals are corrected (Nadeau and Bengio 2003)."
        )
    return (
        f"Means over seeds, measured on {file.split} (± standard deviation between runs). 95 % intervals are for other "
        f"seeds, on the same images."
    )


def lines_table(study: FoundStudy) -> Table:
    """Build the table of a study's lines by their axes, the best first."""
    metrics = study.file.metrics
    figures = {line.labels: {metric: study.figure(line, metric) for metric in metrics} for line in study.lines}
    honest = [line for line in study.lines if not line.leaks]
    best = {}
    for metric in metrics:
        means = [figure.mean for line in honest if (figure := figures[line.labels][metric]) is not None]
        best[metric] = (min if metric in LOWER_IS_BETTER else max)(means) if len(means) > 1 else None
    rows = []
    for line in study.lines[:LINES]:
        count = f"{len(line.runs)} of {line.planned}" if len(line.runs) < line.planned else f"{line.planned}"
        own = line.labels or ("all cells",)
        style = "warn" if line.leaks else ""
        cells = [TableCell(label, sortable(label), style=style) for label in own]
        cells.append(TableCell(count, float(len(line.runs))))
        cells += [figure_cell(figures[line.labels][metric], None if line.leaks else best[metric]) for metric in metrics]
        sizes = [size for run in line.runs.values() if (size := checkpoint_mb(run.run)) is not None]
        size = float(np.mean(sizes)) if sizes else None
        cells.append(number_cell(size, fact_text("checkpoint_mb", size)))
        rows.append(cells)
    axes = study.own_axes or [""]
    more = f"; the best {LINES} of {len(study.lines):,}" if len(study.lines) > LINES else ""
    caption = f"{study.folder.name} by its axes{more}"
    columns = [*axes, "runs", *map(spoken, metrics), spoken("checkpoint_mb")]
    return Table(caption, columns, rows, [False] * len(axes) + [True] * (2 + len(metrics)))


def sortable(label: str) -> float | str:
    """Return what a value of an axis is sorted by: a number by its size."""
    kind, number, text = level_order(label)
    return number if kind == 0 else text


def figure_cell(figure: Figure | None, best: float | None = None) -> TableCell:
    """Show a metric with its spread and interval."""
    if figure is None:
        return TableCell("–")
    spread = f"± {figure.spread:.4f}" if figure.spread is not None else ""
    between = f"{figure.low:.4f} to {figure.high:.4f}" if figure.low is not None and figure.high is not None else ""
    small = ", ".join(filter(None, (spread, between)))
    return TableCell(f"{figure.mean:.4f}", figure.mean, small, style="best" if figure.mean == best else "")


def ranking(study: FoundStudy, pairs: Sequence[Pair]) -> str:
    """Say which lines cannot be told from the best one.

    Args:
        study: as found
        pairs: each line beside the best one
    """
    best = next(line for line in study.lines if line.runs and not line.leaks)
    alike = [pair.line.name for pair in pairs if not pair.told]
    if not alike:
        return f"The best by {spoken(study.by)}, {best.name}, is told from each of the {len(pairs)} others."
    within = " The ranking is within noise." if len(alike) == len(pairs) else ""
    return (
        f"≈ {len(alike)} of {len(pairs)} others cannot be told from the best by {spoken(study.by)}, {best.name}: "
        f"{few(alike, separator='; ')}.{within}"
    )


def pairs_table(study: FoundStudy, pairs: Sequence[Pair], count: int) -> Table:
    """Build the table of lines compared with the best one.

    Args:
        study: as found
        pairs: each line beside the best one
        count: comparisons that p-values are corrected for
    """
    rows = []
    for pair in pairs[:LINES]:
        known = pair.low is not None and pair.high is not None
        small = f"{pair.low:+.4f} to {pair.high:+.4f}" if known else ""
        mark = "" if pair.told else "≈ "
        p = number_cell(pair.p, None if pair.p is None else f"{pair.p:.3g}")
        gain = TableCell(f"{mark}{pair.gain:+.4f}", pair.gain, small)
        rows.append([TableCell(pair.line.name, pair.line.name), number_cell(pair.repeats), gain, p])
    folds = "" if study.file.held_share is None else "corrected resampled "
    caption = (
        f"{spoken(study.by)} less that of the best, paired over {' and '.join(study.file.repeats) or 'nothing'} (95 % "
        f"intervals of each alone); p of the {folds}t-test, corrected for {count:,} comparisons (Holm)"
    )
    columns = ["line", "pairs", f"{spoken(study.by)} less best", "corrected p"]
    return Table(caption, columns, rows, [False, True, True, True])


def parts_table(study: FoundStudy) -> Table:
    """Build the table of the parts of a data set, each tested once: a row a line and part."""
    file, metrics = study.file, study.file.metrics
    assert file.pooled is not None
    place = file.repeats.index(file.pooled)
    rows = []
    for line in study.lines[:LINES]:
        for part in file.axes[file.pooled]:
            runs = [run for key, run in line.runs.items() if key[place] == part]
            cells = [TableCell(line.name, line.name), TableCell(part, sortable(part)), number_cell(len(runs))]
            for metric in metrics:
                values = [value for run in runs if (value := run.value(metric)) is not None]
                mean = float(np.mean(values)) if values else None
                cells.append(number_cell(mean, None if mean is None else f"{mean:.4f}"))
            rows.append(cells)
    columns = ["line", file.pooled, "runs", *map(spoken, metrics)]
    caption = f"by {file.pooled}: each part was the test split of runs that were not trained on it"
    return Table(caption, columns, rows, [False, False, *[True] * (1 + len(metrics))])


def study_verdict(study: FoundStudy, anchor: str) -> Verdict | None:
    """Say which line of a study is best; None where none has a result.

    Args:
        study: as found
        anchor: of its section
    """
    best = next((line for line in study.lines if line.runs and not line.leaks), None)
    figure = None if best is None else study.figure(best, study.by)
    if best is None or figure is None:
        return None
    pairs, _ = pairs_of(study)
    cells = len(study.file.cells)
    title = f"study {study.folder.name}: {cells - len(study.missing):,} of {cells:,} cells, best by {spoken(study.by)}"
    between = f" ({figure.low:.4f} to {figure.high:.4f})" if figure.low is not None and figure.high is not None else ""
    numbers = f"{spoken(study.by)} {figure.mean:.4f}{between}"
    return Verdict(title, anchor, best.name, numbers, ranking(study, pairs) if pairs else "")
