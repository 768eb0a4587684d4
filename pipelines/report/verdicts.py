"""What was compared and what won: the report's first screen."""

from collections.abc import Sequence

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
    return Verdict(title, anchor, best.label, numbers, text)


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
    title = f"stack {run.run.experiment}: {members} members and {len(models) - members} heads, the recommended one"
    return Verdict(title, anchor, f"{name}{' (LEAKAGE)' if run.leaks else ''}", numbers, sentence_of(report))


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
