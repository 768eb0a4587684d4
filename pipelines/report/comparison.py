"""Metrics of runs that were tested on the same samples, with intervals."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.settings import Settings, settings_of
from measures.influence import METRICS
from measures.intervals import Interval, measure
from measures.names import LOWER_IS_BETTER
from pipelines.report.runs import FoundRun, SavedPredictions
from pipelines.report.study import level_order
from records.damaged_files import dict_at, is_number
from records.ledger import Looks

# logits of a run beyond which its AUROC is that of result.json
RANKED_LOGITS = 1_000_000
# how far result.json and predictions may lie apart
TOLERANCE = 1e-4
SEED = re.compile(r"[-_]?seed[-_]?\d+")


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

    @property
    def label(self) -> str:
        """Its name among the runs that it is compared with; a leak is never left out."""
        return marked(self.name or self.run.label, [self])

    def value(self, metric: str) -> float | None:
        """Return a metric, or None where it is not defined."""
        return self.metrics.get(metric, {}).get("value")


@dataclass(eq=False)
class Configuration:
    """Runs that differ in nothing but their seed.

    Args:
        label: what their names have in common
        runs: best first
    """

    label: str
    runs: list[ComparedRun]

    def values(self, metric: str) -> list[float]:
        """Return a metric of each of its runs that has it."""
        return [value for run in self.runs if (value := run.value(metric)) is not None]

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over its runs."""
        values = self.values(metric)
        return float(np.mean(values)) if values else None

    def spread(self, metric: str) -> float | None:
        """Return the standard deviation of a metric over its runs, which must be two at least."""
        values = self.values(metric)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(eq=False)
class Comparison:
    """Runs that were tested on the same samples, and so can be compared.

    Args:
        runs: best accuracy first
        class_names: the name of each class
        support: samples of each class; empty where no run has predictions
        samples: how many there are; None if no run says so
        looks: at the test split so far; None where that is not known
    """

    runs: list[ComparedRun]
    class_names: list[str]
    support: NDArray[np.int64]
    samples: int | None
    looks: Looks | None = None

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
        for metric in METRICS:
            values = [value for run in honest if (value := run.value(metric)) is not None]
            if len(values) > 1:
                found[metric] = min(values) if metric in LOWER_IS_BETTER else max(values)
        return found

    @property
    def winner(self) -> ComparedRun:
        """The most accurate run, without leakage if there is one."""
        return next((run for run in self.runs if not run.leaks), self.runs[0])

    @property
    def reference(self) -> ComparedRun | None:
        """The run that others are compared with: the best one without leakage that has predictions."""
        return next((run for run in self.runs if run.predicted and not run.leaks), None)

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
    def configurations(self) -> list[Configuration]:
        """Its runs without regard to their seed, best mean accuracy first."""
        groups: dict[str, list[ComparedRun]] = defaultdict(list)
        for run in self.runs:
            groups[same_but_seed(run)].append(run)
        found = [Configuration(common_label(runs), runs) for runs in groups.values()]
        return sorted(found, key=lambda item: -(item.mean("accuracy") or 0.0))


def compare(runs: Sequence[FoundRun], split: str) -> list[Comparison]:
    """Compute the metrics of runs and put those together that were tested on the same samples.

    Args:
        runs: all that were found; those without a result are left out
        split: test or val

    Returns:
        the largest set first
    """
    tested = [evaluate(run, split) for run in runs if run.metrics(split)]
    known = {item.key[0]: item.key for item in tested if item.predicted and item.key[0]}
    groups: dict[tuple[str, str], list[ComparedRun]] = defaultdict(list)
    for item in tested:
        # a run without predictions belongs to those that say the same of their data
        key = item.key if item.predicted else known.get(item.key[0], item.key)
        groups[key].append(item)
    sets = [comparison_of(members, split) for members in groups.values()]
    return sorted(sets, key=lambda found: (-len(found.runs), found.title))


def evaluate(run: FoundRun, split: str) -> ComparedRun:
    """Compute the metrics of one run: from its predictions, or those of result.json where there are none.

    Args:
        run: it has a result of the split
        split: test or val
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
    tested.metrics |= own
    tested.predicted = True
    tested.right = (predictions.logits.argmax(1) == predictions.labels).numpy()
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


def comparison_of(members: list[ComparedRun], split: str) -> Comparison:
    """Put runs that were tested on the same samples in order."""
    members.sort(key=rank)
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
    return Comparison(members, names, support, samples)


def rank(run: ComparedRun) -> tuple[float, float, str]:
    """Order runs: the most accurate first; of equally accurate ones, the one with the lower NLL."""
    accuracy, nll = run.value("accuracy"), run.value("nll")
    return (-(accuracy if accuracy is not None else -1.0), nll if nll is not None else np.inf, run.run.label)


def same_but_seed(run: ComparedRun) -> str:
    """Return what runs that differ in their seed alone have in common."""
    # runs that leak are never averaged with runs that do not
    leaks = "leaks " if run.leaks else ""
    if not run.settings:
        # without a config its name must do
        return f"{leaks}{run.run.experiment}/{SEED.sub('', run.run.name)}"
    settings = {name: value for name, value in run.settings.items() if name != "seed_everything"}
    return leaks + repr(sorted(settings.items()))


def common_label(runs: Sequence[ComparedRun]) -> str:
    """Name runs that differ in their seed: what their names have in common."""
    if len(runs) == 1:
        return runs[0].label
    label = min((SEED.sub("", run.name or run.run.label) for run in runs), key=len)
    return marked(label, runs)


def marked(label: str, runs: Sequence[ComparedRun]) -> str:
    """Add to a name what is never left out beside the numbers of some runs."""
    marks = ["LEAKAGE"] * any(run.leaks for run in runs) + [mark for run in runs for mark in run.marks]
    return f"{label} ({', '.join(dict.fromkeys(marks))})" if marks else label
