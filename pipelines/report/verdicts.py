"""What was compared and what won: the report's first screen."""

from collections.abc import Sequence

from common.few import count_of
from measures.intervals import Interval
from pipelines.report.comparison import ComparedRun, Comparison
from pipelines.report.page import Verdict
from pipelines.report.sections import DRAWN_COMPARISONS, among_best
from pipelines.report.stack import rows_of
from pipelines.report.tables import spoken
from records.damaged_files import dict_at


def verdicts_of(groups: Sequence[Comparison], stacks: Sequence[ComparedRun]) -> list[Verdict]:
    """Say of each comparison, and of each stack, which model is best.

    Args:
        groups: all comparisons; those with many runs come first
        stacks: that have a section
    """
    # a stack by itself is told by its own section
    compared = [(number, group) for number, group in enumerate(groups, 1) if not (len(group.runs) == 1 and stacks)]
    found = [of_comparison(group, f"samples_{number}") for number, group in compared[:DRAWN_COMPARISONS]]
    return found + [told for number, run in enumerate(stacks, 1) if (told := of_stack(run, f"stack_{number}"))]


def of_comparison(group: Comparison, anchor: str) -> Verdict:
    """Say which run is best."""
    best, count = group.winner, len(group.runs)
    numbers = ", ".join(
        in_words(best.metrics[metric], metric) for metric in group.few_metrics if metric in best.metrics
    )
    text = among_best(group) if group.reference is not None and any(run.to_best for run in group.runs) else ""
    text = f"By accuracy: {text}" if text and group.by != "accuracy" else text
    if best.leaks:
        text = "All runs leak: their numbers look better than they are."
    title = f"{count:,} runs on {group.title}, best by {spoken(group.by)}" if count > 1 else f"one run on {group.title}"
    member = kept_member(best)
    winner = f"{best.label} (its member {member})" if member else best.label
    if member:
        text = f"This stack has kept its member {member}, and is nothing more than that. {text}"
    return Verdict(title, anchor, winner, of_one_training(numbers), text)


def kept_member(run: ComparedRun) -> str:
    """Name the member that a stack has kept in place of a head; empty for all other runs."""
    kept = run.run.result.get("kept")
    models = rows_of(dict_at(run.run.result, "stack"), "models")
    return str(kept) if any(row.get("name") == kept and row.get("kind") == "member" for row in models) else ""


def of_stack(run: ComparedRun, anchor: str) -> Verdict | None:
    """Say which model of a stack is recommended; None where its result does not say."""
    report = dict_at(run.run.result, "stack")
    name = dict_at(report, "recommendation").get("model")
    models = rows_of(report, "models")
    row = next((row for row in models if row.get("name") == name), None)
    if row is None:
        return None
    metrics = dict_at(row, "metrics")
    numbers = ", ".join(
        in_words(dict_at(metrics, metric), metric) for metric in ("accuracy", "nll") if metric in metrics
    )
    members = sum(row.get("kind") == "member" for row in models)
    heads = count_of(len(models) - members, "head")
    title = f"{run.run.experiment}/{run.run.name}, a stack of {members} members, with {heads}: the recommended one"
    winner = f"{name}{' (LEAKAGE)' if run.leaks else ''}"
    kept = run.run.result.get("kept")
    text = sentence_of(report) + (f" The plan has kept {kept} in its place." if kept not in (None, name) else "")
    return Verdict(title, anchor, winner, of_one_training(numbers), text)


def sentence_of(report: dict[str, object]) -> str:
    """Return why a stack recommends its model."""
    return str(dict_at(report, "recommendation").get("sentence") or "")


def in_words(interval: Interval, metric: str) -> str:
    """Write a metric and its interval."""
    value, low, high = (interval.get(name) for name in ("value", "low", "high"))
    if not isinstance(value, int | float):
        return f"{spoken(metric)} unknown"
    known = isinstance(low, int | float) and isinstance(high, int | float)
    return f"{spoken(metric)} {value:.4f}" + (f" ({low:.4f} to {high:.4f})" if known else "")


def of_one_training(numbers: str) -> str:
    """Add to numbers in words what their intervals are of, where there are any."""
    return f"{numbers}; 95 % intervals of one training, on other images" if " to " in numbers else numbers
