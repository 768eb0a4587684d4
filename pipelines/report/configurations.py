"""Configurations: runs that differ in their seed or fold alone, put together."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.report.comparison import ComparedRun, marked, score

# options in which the runs of one configuration differ, with what one of them is called
REPEATS = {"seed_everything": "seed", "data.fold": "fold"}
# what a run's name says of them
NUMBERED = re.compile(r"[-_]?(?:seed|fold)[-_]?\d+")


@dataclass(eq=False)
class Configuration:
    """Runs that differ in nothing but their seed or fold.

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


def configurations_of(runs: Sequence[ComparedRun], by: str = "accuracy") -> list[Configuration]:
    """Put runs together without regard to their seed and fold, the best mean first.

    Args:
        runs: the best first
        by: the metric that sorts
    """
    groups: dict[str, list[ComparedRun]] = defaultdict(list)
    for run in runs:
        groups[same_but_repeat(run)].append(run)
    found = [Configuration(common_label(members), members) for members in groups.values()]
    return sorted(found, key=lambda item: score(item.mean(by), by))


def repeated_in(configurations: Sequence[Configuration]) -> str:
    """Say in what the runs of some configurations differ: seed, fold, or both."""
    settings = [[run.settings for run in found.runs] for found in configurations]
    names = [
        name for option, name in REPEATS.items() if any(len({one.get(option) for one in of}) > 1 for of in settings)
    ]
    return " or ".join(names) or "seed"


def same_but_repeat(run: ComparedRun) -> str:
    """Return what runs that differ in their seed or fold alone have in common."""
    # runs that leak are never averaged with runs that do not
    leaks = "leaks " if run.leaks else ""
    if not run.settings:
        # without a config its name must do
        return f"{leaks}{run.run.experiment}/{NUMBERED.sub('', run.run.name)}"
    settings = {name: value for name, value in run.settings.items() if name not in REPEATS}
    return leaks + repr(sorted(settings.items()))


def common_label(runs: Sequence[ComparedRun]) -> str:
    """Name runs that differ in their seed or fold: what their names have in common."""
    if len(runs) == 1:
        return runs[0].label
    label = min((NUMBERED.sub("", run.name or run.run.label) for run in runs), key=len)
    return marked(label, runs)
