"""All runs against one that is named as the baseline: a table of differences, and a sentence an option."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.few import count_of, few
from common.spelling import nearest
from measures.influence import METRICS
from measures.intervals import Interval, beyond_noise, measure
from measures.names import LOWER_IS_BETTER
from pipelines.cli.errors import UsageError
from pipelines.report.comparison import RANKED_LOGITS, ComparedRun, Comparison
from pipelines.report.configurations import REPEATS
from pipelines.report.page import INTERVALS, Part, Table, TableCell, interval_cell
from pipelines.report.study import Axis
from pipelines.report.tables import spoken

# limit on the work for intervals of differences, in logits; about 20 s
WORK = 40_000_000
# values of an option that have a sentence each
LEVELS = 6


def find_baseline(groups: Sequence[Comparison], wanted: str) -> ComparedRun:
    """Find the run that is named as the baseline.

    Args:
        groups: all comparisons
        wanted: its name, `experiment/name`, or folder

    Raises:
        UsageError: no run with a result has this name, or several have
    """
    runs = [run for group in groups for run in group.runs]
    folder = Path(wanted).resolve()
    found = [run for run in runs if run.run.files.folder.resolve() == folder]
    found = found or [run for run in runs if wanted in names_of(run)]
    if len(found) == 1:
        return found[0]
    if found:
        folders = few(str(run.run.files.folder) for run in found)
        raise UsageError(f"--baseline {wanted}: {len(found)} runs have this name; name its folder: {folders}")
    known = [name for run in runs for name in names_of(run)]
    raise UsageError(f"--baseline {wanted}: no run with a result has this name{nearest(wanted, known)}")


def names_of(run: ComparedRun) -> tuple[str, ...]:
    """Return the names that a run goes by."""
    return run.run.name, run.run.label, f"{run.run.experiment}/{run.run.name}"


def add_baseline(part: Part, group: Comparison, baseline: ComparedRun, axes: Sequence[Axis], split: str) -> None:
    """Add the differences of all runs to the baseline, and a sentence for each option in which they differ.

    Args:
        part: where to add them
        group: runs tested on the same samples, the baseline among them
        baseline: one of them
        axes: the options in which those runs differ that have settings
        split: test or val
    """
    changes = differences(group, baseline, split)
    if not changes:
        part.say(f"No other run was evaluated on the samples of the baseline, {baseline.label}.")
        return
    part.say(
        f"All differences are to {baseline.label}, paired on the same samples. Each interval is of one comparison by "
        "itself, and of one training of each of the two: it says what other images would change, not what other seeds "
        "would."
    )
    with_settings = [run for run in group.runs if run.settings]
    for axis in axes:
        for sentence in axis_sentences(with_settings, axis, baseline, changes, group):
            part.say(sentence)
    part.blocks.append(differences_table(group, baseline, changes))


def differences(group: Comparison, baseline: ComparedRun, split: str) -> dict[ComparedRun, dict[str, Interval]]:
    """Compute the difference of each run to the baseline, by metric, with paired intervals as far as work allows.

    Args:
        group: runs tested on the same samples
        baseline: one of them
        split: test or val
    """
    metrics = tuple(dict.fromkeys((*group.metrics, group.by)))
    base = baseline.run.predictions(split) if baseline.predicted else None
    logits = (group.samples or 0) * max(1, len(group.support))
    names = tuple(name for name in METRICS if name in metrics and (name != "auroc" or logits <= RANKED_LOGITS))
    found: dict[ComparedRun, dict[str, Interval]] = {}
    left = WORK
    for run in group.runs:
        if run is baseline:
            continue
        changes: dict[str, Interval] = {}
        for metric in metrics:
            value, before = run.value(metric), baseline.value(metric)
            if value is not None and before is not None:
                changes[metric] = {"value": value - before, "low": None, "high": None}
        left -= logits
        own = run.run.predictions(split) if base is not None and run.predicted and left >= 0 else None
        if own is not None and base is not None:
            both = measure({"": own.logits, "base": base.logits}, own.labels, names, group.groups)
            changes |= {metric: both.difference("", "base", metric) for metric in names if metric in changes}
        found[run] = changes
    return found


def axis_sentences(
    runs: Sequence[ComparedRun],
    axis: Axis,
    baseline: ComparedRun,
    changes: dict[ComparedRun, dict[str, Interval]],
    group: Comparison,
) -> list[str]:
    """Say what each other value of an option changes, where runs differ from the baseline in it alone.

    Args:
        runs: those with settings, in the order of the axis's values
        axis: the option
        baseline: one of the runs
        changes: of each run to it
        group: of all the runs
    """
    if axis.name in REPEATS or baseline not in runs:
        return []
    apart = {axis.name, *axis.together, *REPEATS}
    levels = dict(zip(runs, axis.values, strict=True))
    own, said = levels[baseline], []
    others = [level for level in axis.levels if level != own]
    for level in others[:LEVELS]:
        alike = [
            run
            for run in runs
            if levels[run] == level and not run.leaks and differs_only_in(run, baseline, apart) and changes.get(run)
        ]
        if alike:
            told = ", ".join(change_of(alike, metric, changes, group) for metric in dict.fromkeys((group.by, "nll")))
            names = few([run.label for run in alike], 3)
            said.append(f"{axis.name} {level or '(none)'} instead of {own or '(none)'}: {told} ({names}).")
    left = len(others) - len(said)
    if left:
        said.append(
            f"{axis.name}: {left:,} of {count_of(len(others), 'other value')} {'has' if left == 1 else 'have'} no run "
            "that differs from the baseline in it alone."
        )
    return said


def differs_only_in(run: ComparedRun, other: ComparedRun, apart: set[str]) -> bool:
    """Tell whether two runs have the same options but for some."""
    names = (run.settings.keys() | other.settings.keys()) - apart
    return all(run.settings.get(name) == other.settings.get(name) for name in names)


def change_of(
    runs: Sequence[ComparedRun], metric: str, changes: dict[ComparedRun, dict[str, Interval]], group: Comparison
) -> str:
    """Say by how much a metric of some runs differs from the baseline's, and whether that is beyond noise."""
    found = [changes[run][metric] for run in runs if metric in changes[run]]
    values = [change["value"] for change in found if change["value"] is not None]
    if not values:
        return f"{spoken(metric)} unknown"
    text = f"{spoken(metric)} {np.mean(values):+.4f}"
    if len(values) > 1:
        return f"{text} on average over {len(values)} runs, from {min(values):+.4f} to {max(values):+.4f}"
    low, high = found[0]["low"], found[0]["high"]
    if low is None or high is None:
        return text
    text += f" [{low:+.4f}, {high:+.4f}]"
    if low <= 0 <= high:
        return f"{text}, within noise"
    better = (high < 0) if metric in LOWER_IS_BETTER else (low > 0)
    return f"{text}, {'better' if better else 'worse'} {beyond_noise(group.units)}"


def differences_table(
    group: Comparison, baseline: ComparedRun, changes: dict[ComparedRun, dict[str, Interval]]
) -> Table:
    """Build the table of differences to the baseline; those that leave out 0 have a star.

    Args:
        group: runs tested on the same samples
        baseline: one of them
        changes: of each other run to it, by metric
    """
    metrics = tuple(dict.fromkeys((*group.metrics, group.by)))
    rows = []
    for run, found in changes.items():
        cells = []
        for metric in metrics:
            change = found.get(metric)
            cell = interval_cell(change, signed=True)
            low, high = (None, None) if change is None else (change["low"], change["high"])
            outside = low is not None and high is not None and not low <= 0 <= high
            cells.append(TableCell(f"* {cell.text}" if outside else cell.text, cell.sort, cell.small))
        rows.append([TableCell(run.label, run.label, style="warn" if run.leaks else ""), *cells])
    caption = f"each run less {baseline.label}, with paired {INTERVALS}; * leaves out 0"
    order = 1 + metrics.index(group.by)
    columns = ["run", *map(spoken, metrics)]
    return Table(caption, columns, rows, [False, *[True] * len(metrics)], order, group.by not in LOWER_IS_BETTER)
