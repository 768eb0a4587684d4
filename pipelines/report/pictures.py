"""The report's pictures of runs that were tested on the same samples."""

from collections.abc import Sequence

import numpy as np

from figures.accuracy_bars import accuracy_bars
from figures.confusions import NAMED_CLASSES, confusions
from figures.curves_over_runs import Curve, curves_over_runs
from figures.grouped_bars import grouped_bars
from figures.metric_by_option import metric_by_option
from figures.metric_heatmap import metric_heatmap
from figures.radar import radar
from figures.reliabilities import reliabilities
from measures.names import LOWER_IS_BETTER
from measures.per_class import class_report, confusion_counts
from measures.reliability import reliability_bins, softmax
from pipelines.report.comparison import ComparedRun, Comparison
from pipelines.report.configurations import Configuration, configurations_of
from pipelines.report.page import INTERVALS, Part, Picture, drawn
from pipelines.report.study import SHOWN_VALUES, Axis
from pipelines.report.tables import class_table, confused_table, spoken

# how many are drawn: bars and rows, curves, matrices side by side, spokes' lines, options
BARS, CURVES, MATRICES, RADARS, OPTIONS = 20, 8, 4, 5, 6
# models and metrics in grouped bars
GROUPS, GROUPED = 8, 5
# what curves are drawn of, if it was logged
QUANTITIES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
# and where the runs minimise different losses
COMPARABLE = ("val/nll", "train/accuracy", "val/accuracy")
LOGGED = frozenset({*QUANTITIES, *COMPARABLE})
# a matrix of more classes than this is too large to draw
DRAWN_CLASSES = 1500


def of_all(shown: int, all_of_them: int, what: str) -> str:
    """Say how many are shown, if it is not all.

    Example:
        >>> of_all(20, 1000, "runs"), of_all(3, 3, "runs")
        ('; the best 20 of 1,000 runs', '')
    """
    return f"; the best {shown} of {all_of_them:,} {what}" if shown < all_of_them else ""


def bars_picture(group: Comparison, name: str) -> Picture:
    """Draw the best runs' metric that sorts them."""
    by = group.by
    runs = [run for run in group.runs if run.value(by) is not None][:BARS]
    values = [run.value(by) or 0.0 for run in runs]
    best = group.best.get(by)
    figure = accuracy_bars(
        [run.label for run in runs],
        values,
        [run.metrics[by]["low"] for run in runs],
        [run.metrics[by]["high"] for run in runs],
        [value == best and not run.leaks for run, value in zip(runs, values, strict=True)],
        [bool(run.leaks) for run in runs],
        spoken(by),
    )
    alt = ", ".join(f"{run.label} {value:.4f}" for run, value in zip(runs, values, strict=True))
    caption = f"{spoken(by)} with {INTERVALS}{of_all(len(runs), len(group.runs), 'runs')}"
    if any(run.leaks for run in runs):
        caption += "; grey and hatched: with leakage, not to be compared"
    return drawn(name, caption, f"bars of {spoken(by)}: {alt}", figure)


def heatmap_picture(configurations: Sequence[Configuration], name: str, shown_metrics: Sequence[str]) -> Picture:
    """Draw configurations against metrics."""
    shown = configurations[:BARS]
    table = np.array([[np.nan if (mean := found.mean(m)) is None else mean for m in shown_metrics] for found in shown])
    # no run has this metric, such as AUROC with one class
    kept = np.isfinite(table).any(0)
    metrics = [metric for metric, keep in zip(shown_metrics, kept, strict=True) if keep]
    labels = [f"{found.label} ({len(found.runs)})" if len(found.runs) > 1 else found.label for found in shown]
    figure = metric_heatmap(table[:, kept], labels, metrics, sorted(LOWER_IS_BETTER))
    means = "; in brackets: runs that the mean is over" if any(len(found.runs) > 1 for found in shown) else ""
    caption = f"configurations and metrics{means}{of_all(len(shown), len(configurations), 'configurations')}"
    return drawn(name, caption, f"heat map of {len(shown)} configurations and {len(metrics)} metrics", figure)


def radar_picture(configurations: Sequence[Configuration], name: str, shown_metrics: Sequence[str]) -> Picture | None:
    """Draw the metrics of the top five, if there are two at least with three metrics."""
    top = configurations[:RADARS]
    metrics = [metric for metric in shown_metrics if all(found.mean(metric) is not None for found in top)]
    if len(top) < 2 or len(metrics) < 3:
        return None
    table = np.array([[found.mean(metric) for metric in metrics] for found in top], dtype=np.float64)
    names = [found.label for found in top]
    figure = radar(table, names, metrics, sorted(LOWER_IS_BETTER))
    caption = f"the top {len(top)} over all metrics; each spoke goes from the worst to the best of these alone"
    return drawn(name, caption, f"radar of {', '.join(names)}", figure)


def several_picture(configurations: Sequence[Configuration], name: str, shown_metrics: Sequence[str]) -> Picture | None:
    """Draw several rates of each of the best configurations side by side, if there are two at least."""
    shown = configurations[:GROUPS]
    rates = [metric for metric in shown_metrics if metric not in LOWER_IS_BETTER]
    table = np.array([[np.nan if (mean := found.mean(m)) is None else mean for m in rates] for found in shown])
    kept = [k for k in range(len(rates)) if np.isfinite(table[:, k]).any() and np.nanmin(table[:, k]) >= 0]
    kept = [k for k in kept if np.nanmax(table[:, k]) <= 1][:GROUPED]
    if len(kept) < 2:
        return None
    lows, highs = np.full_like(table, np.nan), np.full_like(table, np.nan)
    for row, found in enumerate(shown):
        # several runs have no interval together
        for k in kept if len(found.runs) == 1 else ():
            interval = found.runs[0].metrics.get(rates[k])
            if interval is not None and interval["low"] is not None and interval["high"] is not None:
                lows[row, k], highs[row, k] = interval["low"], interval["high"]
    names = [found.label for found in shown]
    kinds = [spoken(rates[k]) for k in kept]
    figure = grouped_bars(table[:, kept], names, kinds, lows[:, kept], highs[:, kept], "metric")
    caption = f"{', '.join(kinds)}; of single runs, with {INTERVALS}"
    caption += of_all(len(shown), len(configurations), "configurations")
    return drawn(name, caption, f"bars of {', '.join(kinds)} of {', '.join(names)}", figure)


def curves_picture(configurations: Sequence[Configuration], name: str) -> Picture | None:
    """Draw the training curves of the best run of each configuration, if any were logged."""
    curves: dict[str, dict[str, Curve]] = {}
    drawn_runs: list[ComparedRun] = []
    for run in (found.runs[0] for found in configurations):
        if len(drawn_runs) == CURVES:
            break
        # one point is no curve
        logged = {name: curve for name, curve in run.run.logged().items() if name in LOGGED and len(curve[0]) > 1}
        drawn_runs += [run] if logged else []
        for quantity, curve in logged.items():
            curves.setdefault(quantity, {})[run.label] = curve
    alike = len({loss_of(run) for run in drawn_runs}) < 2
    curves = {quantity: curves[quantity] for quantity in (QUANTITIES if alike else COMPARABLE) if quantity in curves}
    if not curves:
        return None
    what = "configurations, each by its best run"
    caption = f"training curves{of_all(len(drawn_runs), len(configurations), what)}"
    if not alike:
        caption += (
            "; the runs minimise different losses, which do not compare: val/nll does, and is drawn in their place"
        )
    return drawn(name, caption, f"curves of {', '.join(curves)} over epochs", curves_over_runs(curves))


def loss_of(run: ComparedRun) -> tuple[tuple[str, str], ...]:
    """Return what a run minimises: its loss and the options of it."""
    loss = "model.loss"
    return tuple(sorted(item for item in run.settings.items() if item[0] == loss or item[0].startswith(f"{loss}.")))


def options_picture(
    runs: Sequence[ComparedRun], axes: Sequence[Axis], name: str, by: str = "accuracy"
) -> Picture | None:
    """Draw a metric against each option whose values are few, or numbers."""
    options: dict[str, dict[str, list[float]]] = {}
    few = [axis for axis in axes if len(axis.levels) <= SHOWN_VALUES or axis.is_numeric]
    for axis in few[:OPTIONS]:
        values: dict[str, list[float]] = {level or "–": [] for level in axis.levels}
        for run, level in zip(runs, axis.values, strict=True):
            value = run.value(by)
            if value is not None:
                values[level or "–"].append(value)
        options[axis.name] = {level: found for level, found in values.items() if found}
    if not options:
        return None
    caption = f"{spoken(by)} against each option in which the runs differ; they may differ in others too"
    figure = metric_by_option(options, spoken(by), SHOWN_VALUES)
    return drawn(name, caption, f"{spoken(by)} against {', '.join(options)}", figure)


def add_predictions(section: Part, group: Comparison, name: str, split: str) -> list[Picture]:
    """Add what is seen in predictions: confusion, reliability, and the classes of the best run.

    Args:
        section: where to add it
        group: runs tested on the same samples
        name: beginning of the pictures' names
        split: test or val

    Returns:
        the pictures that were added
    """
    top = [found.runs[0] for found in configurations_of(group.runs, group.by)]
    shown = [run for run in top if run.predicted][:MATRICES]
    if not shown:
        section.say("No run has predictions: there is no confusion matrix, reliability or table of classes.")
        return []
    counts, bins = [], []
    for run in shown:
        predictions = run.run.predictions(split)
        assert predictions is not None
        labels, logits = predictions.labels.numpy(), predictions.logits.numpy()
        counts.append(confusion_counts(labels, logits.argmax(1), logits.shape[1]))
        bins.append(reliability_bins(labels, softmax(logits)))
    names, labels_shown = group.class_names, [run.label for run in shown]
    pictures = []
    narrow = [matrix for matrix in counts if len(matrix) == len(names)]
    if len(narrow) == len(counts) and len(names) <= DRAWN_CLASSES:
        caption = f"confusion matrices{of_all(len(shown), len(top), 'configurations, each by its best run')}"
        alt = f"confusion matrices of {', '.join(labels_shown)}"
        pictures.append(drawn(f"{name}_confusion", caption, alt, confusions(counts, labels_shown, names)))
    caption = f"reliability{of_all(len(shown), len(top), 'configurations, each by its best run')}"
    alt = ", ".join(f"{label}: ECE {found.ece:.4f}" for label, found in zip(labels_shown, bins, strict=True))
    pictures.append(
        drawn(f"{name}_reliability", caption, f"reliability diagrams: {alt}", reliabilities(bins, labels_shown))
    )
    section.blocks += pictures
    winner = shown.index(group.winner) if group.winner in shown else 0
    label = labels_shown[winner]
    class_names = names if len(names) == len(counts[winner]) else [str(k) for k in range(len(counts[winner]))]
    if len(names) > NAMED_CLASSES:
        section.say(f"{len(names):,} classes are too many to name in a matrix: the table names what is confused most.")
    section.blocks.append(confused_table(label, counts[winner], class_names))
    section.blocks.append(class_table(label, class_report(counts[winner]), class_names))
    return pictures
