"""Metrics of runs that were tested on the same samples, with intervals."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.few import few
from common.settings import Settings, settings_of
from common.spelling import nearest
from measures.classification import classification_metrics
from measures.confidence import confidence_of
from measures.influence import METRICS
from measures.intervals import Interval, measure
from measures.names import BINARY_METRICS, LOWER_IS_BETTER, ORDINAL_METRICS, REGRESSION_METRICS
from measures.names import METRICS as ALL_METRICS
from measures.problem import Problem
from pipelines.cli.errors import UsageError
from pipelines.report.runs import FoundRun, SavedPredictions
from pipelines.report.study import level_order
from records.damaged_files import dict_at, is_number
from records.ledger import Looks

# logits of a run beyond which its AUROC is that of result.json
RANKED_LOGITS = 1_000_000
# what predictions tell, whatever result.json holds
COMPUTED = (*ALL_METRICS, *BINARY_METRICS, *ORDINAL_METRICS)
# how far result.json and predictions may lie apart
TOLERANCE = 1e-4


@dataclass(eq=False)
class ComparedRun:
    """A run with a result.

    Args:
        run: as found
        metrics: by name, with intervals where there are any
        leaks: why its numbers look better than they are
        marks: what else is shown beside its name everywhere, with a sentence for each
        notes: what else is to be known of its numbers
        predicted: whether it has predictions that can be used
        key: what tells its samples from others
        to_best: accuracy less that of the best run without leakage, paired; its interval holds for all runs together
        settings: the options of its config, flat
        name: among the runs that it is compared with; the report's name for it if empty
        right: whether it is right, bool, shape `(sample,)`; None without predictions
        groups: of the samples, int64, shape `(sample,)`; None where its predictions name none
        confidence: see `confidence_of`; empty without predictions
    """

    run: FoundRun
    metrics: dict[str, Interval]
    leaks: list[str]
    marks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    predicted: bool = False
    key: tuple[str, str] = ("", "")
    to_best: Interval | None = None
    settings: Settings = field(default_factory=dict)
    name: str = ""
    right: NDArray[np.bool_] | None = None
    groups: Tensor | None = None
    confidence: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name among the runs that it is compared with; a leak is never left out."""
        return marked(self.name or self.run.label, [self])

    def value(self, metric: str) -> float | None:
        """Return a metric, or None where it is not defined."""
        return self.metrics.get(metric, {}).get("value")


@dataclass(eq=False)
class Comparison:
    """Runs that were tested on the same samples, and so can be compared.

    Args:
        runs: the best by `by` first
        class_names: the name of each class
        support: samples of each class; empty where no run has predictions
        samples: how many there are; None if no run says so
        looks: at the test split so far; None where that is not known
        metrics: that are shown
        by: the metric that sorts the runs
        hidden_groups: whether samples come in groups that no predictions name
    """

    runs: list[ComparedRun]
    class_names: list[str]
    support: NDArray[np.int64]
    samples: int | None
    looks: Looks | None = None
    metrics: tuple[str, ...] = METRICS
    by: str = "accuracy"
    hidden_groups: bool = False

    @property
    def few_metrics(self) -> tuple[str, ...]:
        """Some metrics, for small tables: the one that sorts, and at most three more."""
        usual = [name for name in ("accuracy", "balanced_accuracy", "nll", "ece") if name in self.metrics]
        return tuple(dict.fromkeys((self.by, *(usual if self.metrics == METRICS else self.metrics))))[:4]

    @property
    def of_numbers(self) -> bool:
        """Whether the runs predict numbers, and no classes."""
        return all("mse" in run.metrics for run in self.runs)

    @property
    def title(self) -> str:
        """Name the data and the number of samples."""
        data = sorted({str(run.run.result.get("data", "data")).rpartition(".")[2] for run in self.runs})
        experiments = sorted({run.run.experiment for run in self.runs})
        named = ", ".join(experiments[:3]) + (", ..." if len(experiments) > 3 else "")
        count = f", {self.samples:,} samples" if self.samples else ""
        count += f", look {self.looks.number:,}" if self.looks else ""
        return f"{', '.join(data)}{count} ({named})"

    @property
    def best(self) -> dict[str, float]:
        """The best value of each metric among runs without leakage, where there is a choice."""
        honest = [run for run in self.runs if not run.leaks]
        found = {}
        for metric in dict.fromkeys((*self.metrics, self.by)):
            values = [value for run in honest if (value := run.value(metric)) is not None]
            if len(values) > 1:
                found[metric] = min(values) if metric in LOWER_IS_BETTER else max(values)
        return found

    @property
    def winner(self) -> ComparedRun:
        """The best run, without leakage if there is one."""
        return next((run for run in self.runs if not run.leaks), self.runs[0])

    @property
    def reference(self) -> ComparedRun | None:
        """The run that others are compared with: the most accurate one without leakage that has predictions."""
        return min((run for run in self.runs if run.predicted and not run.leaks), key=rank, default=None)

    @property
    def among_best(self) -> list[ComparedRun]:
        """The runs without leakage that these samples cannot tell from the best one, itself among them."""
        return [run for run in self.runs if not run.leaks and self.is_among_best(run)]

    def is_among_best(self, run: ComparedRun) -> bool:
        """Tell whether these samples cannot tell a run from the best one."""
        if run.to_best is None:
            return run is self.reference
        high = run.to_best["high"]
        return high is None or high >= 0

    @property
    def groups(self) -> Tensor | None:
        """Groups of the samples, as any of its runs knows them, int64, shape `(sample,)`; None where none does."""
        return next((run.groups for run in self.runs if run.groups is not None), None)

    @property
    def units(self) -> int:
        """How many samples or groups intervals rest on."""
        groups = self.groups
        return (self.samples or 0) if groups is None else len(groups.unique())


def compare(
    runs: Sequence[FoundRun], split: str, metrics: tuple[str, ...] = METRICS, by: str = "accuracy"
) -> list[Comparison]:
    """Compute the metrics of runs and put those together that were tested on the same samples.

    Args:
        runs: all that were found; those without a result are left out
        split: test or val
        metrics: that are shown
        by: the metric that sorts runs

    Returns:
        the largest set first

    Raises:
        UsageError: no run has one of these metrics
    """
    tested = [evaluate(run, split, (*metrics, by)) for run in runs if run.metrics(split)]
    refuse_unknown(tested, (*metrics, by))
    known = {item.key[0]: item.key for item in tested if item.predicted and item.key[0]}
    groups: dict[tuple[str, str], list[ComparedRun]] = defaultdict(list)
    for item in tested:
        # a run without predictions belongs to those that say the same of their data
        key = item.key if item.predicted else known.get(item.key[0], item.key)
        groups[key].append(item)
    sets = [comparison_of(members, split, metrics, by) for members in groups.values()]
    return sorted(sets, key=lambda found: (-len(found.runs), found.title))


def refuse_unknown(tested: Sequence[ComparedRun], wanted: Sequence[str]) -> None:
    """Refuse a metric that no run has.

    Raises:
        UsageError: there is one
    """
    known = {name for run in tested for name in run.metrics} | set(COMPUTED)
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"no run has the metric {name!r}{nearest(name, sorted(known))}; known: {few(sorted(known), 30)}"
            )


def evaluate(run: FoundRun, split: str, wanted: Sequence[str] = ()) -> ComparedRun:
    """Compute the metrics of one run: from its predictions, or those of result.json where there are none.

    Args:
        run: it has a result of the split
        split: test or val
        wanted: metrics to compute beside the usual ones where result.json does not hold them
    """
    stated = run.metrics(split)
    metrics: dict[str, Interval] = {name: {"value": value, "low": None, "high": None} for name, value in stated.items()}
    tested = ComparedRun(run, metrics, run.leaks(split), run.marks(split), settings=settings_of(run.config))
    warnings = run.result.get("leakage")
    tested.notes += tested.marks.values()
    own_notes = dict_at(dict_at(run.result, "evaluations"), split).get("notes")
    tested.notes += [str(text) for text in own_notes] if isinstance(own_notes, list) else []
    tested.notes += [str(text) for text in (warnings if isinstance(warnings, dict) else {}).get("warnings") or []]
    tested.notes += run.problems
    tested.notes += how_tested(run, split, tested.settings)
    fingerprint = run.fingerprint(split) or ""
    tested.key = (fingerprint, "") if fingerprint else (str(run.files.folder.resolve()), "")
    if "mse" in stated:
        # numbers were predicted: their intervals were computed with them
        found = dict_at(run.result, f"{split}_intervals")
        metrics |= {name: found[name] for name in metrics if isinstance(found.get(name), dict)}
        return tested
    try:
        predictions = run.predictions(split)
    except ValueError as error:
        tested.notes.append(f"{error}: the numbers are those of result.json, without intervals")
        return tested
    if predictions is None:
        tested.notes.append(f"no predictions of {split}: the numbers are those of result.json, without intervals")
        return tested
    sums = tuple(name for name in METRICS if name != "auroc")
    own = points(predictions, sums)
    if abs(float(own["accuracy"]["value"] or 0.0) - stated.get("accuracy", np.nan)) > TOLERANCE:
        tested.notes.append(
            f"result.json says accuracy {stated['accuracy']:.4f}, its predictions {own['accuracy']['value']:.4f}: "
            "the numbers are those of the predictions"
        )
        metrics.clear()
    if "auroc" not in metrics and predictions.logits.numel() <= RANKED_LOGITS:
        # it takes longest, and was computed from these predictions before
        own |= points(predictions, ("auroc",))
    lacking = [name for name in wanted if name not in own and name not in metrics and name in COMPUTED]
    if lacking:
        # who asks for a metric of ordered classes says that they are ordered
        ordinal = any(name in ORDINAL_METRICS for name in lacking)
        tested.notes += ["classes count as ordered, as they are listed"] * ordinal
        every = classification_metrics(predictions.logits, predictions.labels, Problem(ordinal))
        own |= {
            name: {"value": None if np.isnan(every[name]) else every[name], "low": None, "high": None}
            for name in lacking
            # brier_binary is of two classes alone
            if name in every
        }
    tested.metrics |= own
    tested.predicted = True
    right = predictions.logits.argmax(1) == predictions.labels
    tested.right, tested.confidence = right.numpy(), confidence_of(predictions.logits, right)
    tested.groups = predictions.groups
    tested.key = (fingerprint, digest(predictions))
    return tested


def how_tested(run: FoundRun, split: str, settings: Settings) -> list[str]:
    """Say where something else was evaluated than what the run's config and folder show.

    Args:
        run: as found
        split: test or val
        settings: the options of its config, flat
    """
    evaluated = dict_at(dict_at(run.result, "evaluations"), split)
    adjustment, trained = evaluated.get("logit_adjustment", 0.0), settings.get("model.logit_adjustment", "0")
    found = []
    if level_order(str(adjustment))[:2] != level_order(trained)[:2]:
        found.append(f"evaluated with --model.logit_adjustment {adjustment}; its config says {trained}")
    views, trained = evaluated.get("tta", "none"), settings.get("model.tta", "none")
    # a stack of one file has no config, and its views are its own
    if views != trained and not str(run.result.get("model")).endswith("StackedClassifier"):
        found.append(f"evaluated with --model.tta {views}; its config says {trained}")
    checkpoint, weights = evaluated.get("checkpoint"), run.files.weights
    if isinstance(checkpoint, str) and weights.is_file() and Path(checkpoint).name != weights.name:
        found.append(f"evaluated from {Path(checkpoint).name}, not {weights.name}")
    return found


def points(predictions: SavedPredictions, names: Sequence[str]) -> dict[str, Interval]:
    """Compute metrics of predictions, without intervals."""
    values = measure({"": predictions.logits}, predictions.labels, names).points[""]
    return {
        name: {"value": None if np.isnan(value) else value, "low": None, "high": None} for name, value in values.items()
    }


def digest(predictions: SavedPredictions) -> str:
    """Return a hash of the samples and their labels."""
    content = hashlib.blake2b(predictions.ids.numpy().tobytes(), digest_size=8)
    content.update(predictions.labels.numpy().tobytes())
    return content.hexdigest()


def comparison_of(
    members: list[ComparedRun], split: str, metrics: tuple[str, ...] = METRICS, by: str = "accuracy"
) -> Comparison:
    """Put runs that were tested on the same samples in order."""
    if all("mse" in run.metrics for run in members):
        # what is of classes does not apply to predicted numbers
        chosen = tuple(name for name in metrics if name in REGRESSION_METRICS)
        metrics, by = chosen or REGRESSION_METRICS, by if by in (*REGRESSION_METRICS, "loss") else "mse"
    members.sort(key=lambda run: rank(run, by))
    short = [run.run.name for run in members]
    if len({run.run.experiment for run in members}) == 1 and len(set(short)) == len(members):
        for run, name in zip(members, short, strict=True):
            run.name = name
    names: list[str] = next((run.run.class_names for run in members if run.run.class_names), [])
    support = np.empty(0, np.int64)
    samples = None
    example = next((run for run in members if run.predicted), None)
    if example is not None:
        predictions = example.run.predictions(split)
        assert predictions is not None
        samples, classes = predictions.logits.shape
        support = torch.bincount(predictions.labels, minlength=classes).numpy()
        names = names if len(names) == classes else [str(number) for number in range(classes)]
    else:
        stated = next(iter(members)).run.result.get("evaluations")
        count = stated.get(split, {}).get("samples") if isinstance(stated, dict) else None
        samples = count if is_number(count) else None
    grouped = any("fitted_on_groups" in dict_at(dict_at(run.run.result, "evaluations"), split) for run in members)
    hidden = grouped and all(run.groups is None for run in members)
    return Comparison(members, names, support, samples, metrics=metrics, by=by, hidden_groups=hidden)


def rank(run: ComparedRun, by: str = "accuracy") -> tuple[float, float, float, str]:
    """Order runs: the best by a metric first; of equal ones the more accurate, then the one with the lower NLL."""
    first, second, third = (score(run.value(metric), metric) for metric in (by, "accuracy", "nll"))
    return first, second, third, run.run.label


def score(value: float | None, metric: str) -> float:
    """Return what is lower the better a metric's value is; no value is the worst."""
    if value is None:
        return np.inf
    return value if metric in LOWER_IS_BETTER else -value


def marked(label: str, runs: Sequence[ComparedRun]) -> str:
    """Add to a name what is never left out beside the numbers of some runs."""
    marks = ["LEAKAGE"] * any(run.leaks for run in runs) + [mark for run in runs for mark in run.marks]
    return f"{label} ({', '.join(dict.fromkeys(marks))})" if marks else label
