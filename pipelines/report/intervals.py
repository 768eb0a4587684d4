"""Intervals of runs that were tested on the same samples."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from measures.bootstrap import less_best
from measures.influence import METRICS, Influence
from measures.intervals import Measured, measure, numbered
from pipelines.report.comparison import RANKED_LOGITS, ComparedRun, Comparison

# limit on the work for metrics other than accuracy, which the best runs get first: logits, of which each run counts as
# some more. It is about 20 s.
INTERVAL_WORK, RUN_WORK = 40_000_000, 10_000


def add_intervals(groups: Sequence[Comparison], split: str) -> None:
    """Add intervals of accuracy and its paired difference to the best run; of other metrics as far as work allows.

    Args:
        groups: their runs best first
        split: test or val
    """
    for group in groups:
        add_accuracy(group)
    left = INTERVAL_WORK
    places = [(place, number) for number, group in enumerate(groups) for place in range(len(group.runs))]
    for place, number in sorted(places):
        group = groups[number]
        run, logits = group.runs[place], (group.samples or 0) * len(group.support)
        left -= RUN_WORK + logits
        # the very best has them whatever they cost
        if run.predicted and (left >= 0 or not place):
            names = tuple(name for name in METRICS if name != "auroc" or logits <= RANKED_LOGITS)
            add_metrics(run, names, split, group.groups)


def add_accuracy(group: Comparison) -> None:
    """Add intervals of accuracy, and of its difference to the reference, which hold together for all runs.

    Args:
        group: runs tested on the same samples
    """
    runs = [run for run in group.runs if run.right is not None]
    if not runs or not group.samples:
        return
    right = np.stack([run.right for run in runs if run.right is not None])
    rates = right.mean(1)
    models = {
        str(place): Influence({"accuracy": float(rate)}, {"accuracy": row - rate}, row, np.empty(0))
        for place, (row, rate) in enumerate(zip(right, rates, strict=True))
    }
    found = Measured(models, np.zeros(group.samples, np.int64), 1, numbered(group.groups))
    for place, run in enumerate(runs):
        run.metrics["accuracy"] = found.metric(str(place), "accuracy")
    if group.reference is not None:
        best = runs.index(group.reference)
        for run, change in zip(runs, less_best(right, best, found.unit), strict=True):
            run.to_best = None if run is group.reference else change


def add_metrics(run: ComparedRun, names: Sequence[str], split: str, groups: Tensor | None = None) -> None:
    """Add intervals of all metrics to a run.

    Args:
        run: it has predictions
        names: of the metrics
        split: test or val
        groups: of samples that are not independent, shape `(sample,)`
    """
    predictions = run.run.predictions(split)
    if predictions is not None:
        found = measure({"": predictions.logits}, predictions.labels, names, groups)
        run.metrics |= {metric: found.metric("", metric) for metric in names}
