"""Bootstrap intervals of runs that were tested on the same samples."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from measures.bootstrap import METRICS, REPLICATES, Bootstrap, bootstrap, resample
from pipelines.report.comparison import RANKED_LOGITS, ComparedRun, Comparison

# limits on the work for metrics other than accuracy, which the best runs get first: resampled samples (each
# run counts as a thousand more), and resampled logits for AUROC, which takes longest. Each limit is about 10 s.
INTERVAL_WORK, RANKED_WORK = 600_000, 1_000_000
RUN_WORK = 1_000
# logits that are held at once
HELD = 4_000_000


def add_intervals(groups: Sequence[Comparison], split: str) -> None:
    """Add intervals of accuracy and its paired difference to the best run; of other metrics as far as work allows.

    Args:
        groups: their runs best first
        split: test or val
    """
    for group in groups:
        add_accuracy(group)
    left, ranked_left = INTERVAL_WORK, RANKED_WORK
    batches: dict[tuple[int, bool], list[ComparedRun]] = {}
    places = [(place, number) for number, group in enumerate(groups) for place in range(len(group.runs))]
    for place, number in sorted(places):
        group = groups[number]
        run, samples = group.runs[place], group.samples or 0
        left -= RUN_WORK + samples
        # the very best has them whatever they cost
        if not run.predicted or (left < 0 and place):
            continue
        logits = samples * max(1, len(group.support))
        ranked = logits <= min(RANKED_LOGITS, ranked_left)
        ranked_left -= logits if ranked else 0
        batches.setdefault((number, ranked), []).append(run)
    for (number, ranked), runs in batches.items():
        names = tuple(name for name in METRICS if ranked or name != "auroc")
        size = max(1, HELD // max(1, (groups[number].samples or 1) * len(groups[number].support)))
        for start in range(0, len(runs), size):
            add_metrics(runs[start : start + size], names, split, groups[number].groups)


def add_accuracy(group: Comparison) -> None:
    """Add intervals of accuracy, and of its difference to the reference; all runs see the same resamples.

    Args:
        group: runs tested on the same samples
    """
    runs = [run for run in group.runs if run.right is not None]
    if not runs or not group.samples:
        return
    right = np.stack([run.right for run in runs if run.right is not None]).astype(np.float32)
    samples = group.samples
    unit = np.arange(samples) if group.groups is None else np.unique(group.groups.numpy(), return_inverse=True)[1]
    # the draws of `bootstrap` itself; sums of whole numbers are exact in single precision
    parts = [
        (right @ weights).astype(np.float64) / weights.sum(0, dtype=np.float64)
        for weights in resample(unit, REPLICATES, 0)
    ]
    replicates = np.concatenate(parts, 1)
    names = [str(place) for place in range(len(runs))]
    drawn = Bootstrap(
        {name: {"accuracy": float(row.mean(dtype=np.float64))} for name, row in zip(names, right, strict=True)},
        {name: {"accuracy": row} for name, row in zip(names, replicates, strict=True)},
        samples,
        int(unit.max()) + 1,
    )
    for name, run in zip(names, runs, strict=True):
        run.metrics["accuracy"] = drawn.metric(name, "accuracy")
        if group.reference is not None and run is not group.reference:
            run.to_best = drawn.difference(name, str(runs.index(group.reference)), "accuracy")


def add_metrics(runs: Sequence[ComparedRun], names: Sequence[str], split: str, groups: Tensor | None = None) -> None:
    """Add intervals of all metrics to some runs, which are drawn together.

    Args:
        runs: tested on the same samples
        names: of the metrics
        split: test or val
        groups: of the samples, which are drawn whole, shape `(sample,)`; None draws samples singly
    """
    read = {str(place): run.run.predictions(split) for place, run in enumerate(runs)}
    found = {name: predictions for name, predictions in read.items() if predictions is not None}
    labels = next(iter(found.values())).labels
    logits = {name: predictions.logits for name, predictions in found.items()}
    drawn = bootstrap(logits, labels, names, REPLICATES, groups=groups)
    for name in found:
        run = runs[int(name)]
        run.metrics |= {metric: drawn.metric(name, metric) for metric in names}
