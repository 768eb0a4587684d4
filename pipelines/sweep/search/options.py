"""The options of a search."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product
from typing import Any, Literal

from common.ranges import SEEDS, check_range
from measures.names import VALIDATION_METRICS, mode_of
from pipelines.sweep.search.spaces import Space

# trials of a search that does not say how many, and of a grid: all
TRIALS = 20
RANGES = {
    "trials": "[1, inf)",
    "warmup": "[0, inf)",
    "startup": "[0, inf)",
    "max_parameters": "[1, inf)",
    "max_ms_per_image": "(0, inf)",
    "seed": SEEDS,
}


@dataclass
class SearchOptions:
    """What is searched, and how.

    Args:
        spaces: the values that trials draw from, by option: {low, high, log, step} for numbers, whole ones if all of
            these are; or {choices}, a list, or names with their fragments and options
        trials: how many trials are trained; null trains 20, or a whole grid
        sampler: how values are drawn: tpe (by what earlier trials reached), random, or grid (all combinations in turn)
        pruner: which trials are ended early: none; median (worse than the median of the others at this epoch); or
            hyperband (the worst of a bracket, at a third, a ninth, ... of the epochs)
        warmup: epochs in which no trial is ended early
        startup: trials that are drawn at random, and trained to their end, before sampler and pruner judge by them
        metric: of validation, by which trials are compared; null takes that of best_checkpoint.monitor
        max_parameters: train no model with more parameters
        max_ms_per_image: train no model that takes longer for an image, as measured on this machine before it is
            trained
        refit: train the best trial's options once more, on training and validation samples together
        storage: how Optuna keeps the trials: journal, or sqlite, which needs a local disk
        seed: of the sampler
    """

    # a mapping of anything would make numbers of quoted text
    spaces: dict = field(default_factory=dict)
    trials: int | None = None
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruner: Literal["none", "median", "hyperband"] = "none"
    warmup: int = 5
    startup: int = 5
    metric: str | None = None
    max_parameters: int | None = None
    max_ms_per_image: float | None = None
    refit: bool = False
    storage: Literal["journal", "sqlite"] = "journal"
    seed: int = 0

    @cached_property
    def all_spaces(self) -> list[Space]:
        """The spaces, read.

        Raises:
            ValueError: one is no space
        """
        return [Space.of(str(name), given) for name, given in self.spaces.items()]

    def check(self) -> None:
        """Refuse options that cannot be; the parser would put the reason among those of other types.

        Raises:
            ValueError: the message names the option
        """
        for name, interval in RANGES.items():
            check_range(f"--search.{name}", getattr(self, name), interval)
        if self.metric is not None:
            self.metric = self.metric if "/" in self.metric else f"val/{self.metric}"
            mode_of(self.metric, "--search.metric", VALIDATION_METRICS)
        if not self.all_spaces:
            raise ValueError("search needs spaces: the options that trials draw, each with its values")
        if self.sampler == "grid":
            self.grid()

    def grid(self) -> list[dict[str, Any]]:
        """Return all combinations of values, by space; the last space changes fastest.

        Raises:
            ValueError: a space has no end
        """
        names = [space.name for space in self.all_spaces]
        found = product(*(space.grid() for space in self.all_spaces))
        return [dict(zip(names, values, strict=True)) for values in islice(found, self.trials)]

    @property
    def wanted(self) -> int:
        """How many trials are trained."""
        return len(self.grid()) if self.sampler == "grid" else self.trials or TRIALS

    def spoken(self) -> str:
        """Say how values are drawn, and which trials are ended early."""
        sampler = {"tpe": "TPE", "random": "random", "grid": "grid"}[self.sampler]
        pruner = {"none": "no pruning", "median": "median pruning", "hyperband": "Hyperband pruning"}[self.pruner]
        return f"{sampler}, {pruner}"

    def limits(self) -> dict[str, Any]:
        """Return what a model must keep to, by name."""
        found = {"max_parameters": self.max_parameters, "max_ms_per_image": self.max_ms_per_image}
        return {name: value for name, value in found.items() if value is not None}
