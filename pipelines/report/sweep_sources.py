"""Sources of images in a study: accuracy by source, and pairs of sources along the axis of numbers."""

from collections.abc import Iterator, Sequence

import numpy as np

from figures.metric_curves import metric_curves
from measures.by_source import PAIR_METRICS, pair_rows
from pipelines.report.page import Part, Picture, Table, TableCell, drawn, number_cell
from pipelines.report.sources import PAIR_TITLES, PAIRS, pair_cell
from pipelines.report.sweep_scaling import families_of, numeric_axis
from pipelines.report.sweeps import FoundStudy, Line
from records.damaged_files import dict_at

# pairs of sources, and lines, in one picture
CURVES, FAMILIES = 10, 6
ROWS = 500
# by source of a class's images and source of the others: each run's mean over classes, None where it is undefined
PairValues = dict[tuple[str, str], list[float | None]]


def add_study_sources(part: Part, study: FoundStudy, name: str) -> list[Picture]:
    """Add accuracy by source, pairs of sources, and their curves along the first axis of numbers.

    Args:
        part: where to add them
        study: as found
        name: beginning of the pictures' names

    Returns:
        the pictures; none where the images have no sources, or no axis has two numbers
    """
    if table := sources_table(study):
        part.blocks.append(table)
    pairs = {line.labels: {m: pair_values(line, study.file.split, m) for m in PAIR_METRICS} for line in study.lines}
    if not any(values for by_metric in pairs.values() for values in by_metric.values()):
        return []
    part.say(
        "Pairs: how well images of a class from one source are told from images of other classes from another, as "
        "means over classes and runs. A pair is undefined where one of the two sources has no such images."
    )
    part.blocks.append(pairs_table(study, pairs))
    pictures = list(curves(study, pairs, name))
    part.blocks += pictures
    return pictures


def sources_table(study: FoundStudy) -> Table | None:
    """Build the table of accuracy by source over all runs of a line; None without sources, or where parts are them."""
    if study.file.pooled == "source":
        return None
    rows = []
    for line in study.lines:
        counts: dict[str, list[tuple[float, float]]] = {}
        for run in line.runs.values():
            for source in (found := dict_at(run.run.result, f"{study.file.split}_by_source")):
                values = dict_at(found, source)
                accuracy, samples = values.get("accuracy"), values.get("samples")
                if isinstance(accuracy, int | float) and isinstance(samples, int | float):
                    counts.setdefault(str(source), []).append((float(samples), float(accuracy)))
        for source, pairs in counts.items():
            total = sum(samples for samples, _ in pairs)
            mean = sum(samples * accuracy for samples, accuracy in pairs) / total if total else None
            cell = number_cell(mean, None if mean is None else f"{mean:.4f}")
            rows.append([TableCell(line.name, line.name), TableCell(source, source), number_cell(int(total)), cell])
    over = "parts" if study.file.pooled is not None else "runs"
    caption = f"accuracy by source of the images, over all {over}"
    columns = ["line", "source", "predictions", "accuracy"]
    return Table(caption, columns, rows[:ROWS], [False, False, True, True]) if rows else None


def pair_values(line: Line, split: str, metric: str) -> PairValues:
    """Return a metric of each pair of sources in each run of a line.

    Args:
        line: of a study
        split: which is reported on
        metric: of PAIR_METRICS
    """
    found: PairValues = {}
    for run in line.runs.values():
        by_pair: dict[tuple[str, str], list[float]] = {}
        for _, one, other, values in pair_rows(run.run.result, split):
            if metric in values:
                own, value = by_pair.setdefault((one, other), []), values[metric]
                own += [] if value is None else [value]
        for pair, of_classes in by_pair.items():
            found.setdefault(pair, []).append(float(np.mean(of_classes)) if of_classes else None)
    return found


def defined(values: Sequence[float | None]) -> list[float]:
    """Leave out runs in which a pair is undefined."""
    return [value for value in values if value is not None]


def pairs_table(study: FoundStudy, pairs: dict[tuple[str, ...], dict[str, PairValues]]) -> Table:
    """Build the table of pairs of sources of each line.

    Args:
        study: as found
        pairs: values by the labels of a line, and by metric
    """
    rows = []
    for line in study.lines:
        by_metric = pairs[line.labels]
        for one, other in sorted(set().union(*by_metric.values())):
            cells = []
            for values in by_metric.values():
                known = defined(values.get((one, other), []))
                spread = f"± {np.std(known, ddof=1):.4f}" if len(known) > 1 else ""
                cells.append(pair_cell(float(np.mean(known)) if known else None, spread))
            rows.append([TableCell(line.name, line.name), TableCell(one, one), TableCell(other, other), *cells])
    more = f"; {PAIRS} of {len(rows):,} rows" if len(rows) > PAIRS else ""
    columns = ["line", "a class's images from", "others from", *(PAIR_TITLES[metric] for metric in PAIR_METRICS)]
    caption = f"pairs of sources (± standard deviation between runs){more}"
    return Table(caption, columns, rows[:PAIRS], [False] * 3 + [True] * 3)


def curves(study: FoundStudy, pairs: dict[tuple[str, ...], dict[str, PairValues]], name: str) -> Iterator[Picture]:
    """Draw each metric of the pairs along the first axis of numbers, a picture for each of the other values.

    Args:
        study: as found
        pairs: values by the labels of a line, and by metric
        name: beginning of the pictures' names
    """
    x = numeric_axis(study)
    if x is None:
        return
    families = list(families_of(study, study.own_axes.index(x)).items())
    for number, (other, family) in enumerate(families[:FAMILIES], 1):
        for metric in PAIR_METRICS:
            found: dict[str, dict[float, list[float]]] = {}
            for place, line in family.items():
                for (one, two), values in pairs[line.labels][metric].items():
                    if known := defined(values):
                        found.setdefault(f"{one} – {two}", {})[place] = known
            drawable = {pair: curve for pair, curve in sorted(found.items()) if len(curve) > 1}
            if not drawable:
                continue
            shown, label = dict(list(drawable.items())[:CURVES]), PAIR_TITLES[metric]
            more = f"; {CURVES} of {len(drawable):,} pairs" if len(drawable) > CURVES else ""
            alt = f"{label} of pairs of sources along {x} for {', '.join(shown)}"
            caption = f"{other}: {label} of pairs of sources along {x}{more}"
            yield drawn(f"{name}_pairs_{metric}_{number}", caption, alt, metric_curves(shown, x, label))
