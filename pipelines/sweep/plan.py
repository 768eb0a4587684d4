"""What a study is made of: axes, and the cells that they give."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any, Literal

from common.few import few
from common.lazy_seam import lazy
from common.ranges import SEEDS, check_range
from common.settings import dotted
from common.spelling import nearest
from measures.names import METRICS, PROBLEM_METRICS, REGRESSION_METRICS
from pipelines.cells.cell import Cell, check_count
from pipelines.cells.executors import CellExecutor, LocalExecutor
from pipelines.sweep.axes import Axis, Condition, Value
from pipelines.sweep.search.options import SearchOptions
from records import run_dir

SEED, FOLD, SOURCE = "seed", "fold", "source"
# axes along which the same is repeated, and its results are averaged or pooled
REPEATS = (SEED, FOLD, SOURCE)
# options that the plan sets by its own
TAKEN = {
    "run.root": "root",
    "run.experiment": "experiment",
    "run.name": "axes: a cell is named by its values",
    "ckpt_path": "experiment: the same command goes on with it",
    "config": "fragments",
}
# options of a stack's plan that a study of stacks sets
OF_STACK = ("root", "experiment", "stack_name", "study", "page", "executor", "retries", "dry_run", "fresh")
FOLDS = ("data.num_folds", "data.fold", "data.leave_out_source", "data.held_out")
# folders of an experiment that are no runs
RESERVED = ("cells", "logs", "parsl", "report", "search")
# bytes that a file system takes for a name
LONGEST = 200


@dataclass(eq=False)
class SweepPlan:
    """A study: what all runs share, in what they differ, and on what they are measured.

    Args:
        axes: in what runs differ: an option with a list of values, or a word with named values, each of which has
            `fragments` and `options` of its own
        zip: axes that go along with each other instead of being crossed, as lists of their names
        leave_out: cells that are left out, as values by axis; a list of values means any of them
        only: cells that are run now, as values by axis; the others stay planned
        seeds: how often everything is repeated with other seeds, from 0; or a list of the seeds
        folds: train on all but one of this many folds, in turn; the one that is held out becomes the validation split
        cross_validate: as folds, but each fold is the test split once; predictions are pooled over the folds
        leave_one_out: source makes each source of images the test split once; predictions are pooled over them
        sources: those that leave_one_out leaves out in turn; none are all that the data has
        fragments: config files of all runs
        options: what all runs set beyond their fragments, by the names of the command line
        stack: plan of a stack, which makes each cell a stack: axes and options are those of this plan, and the members'
            runs that several stacks share are trained once
        search: draw options of the cells instead of crossing axes, see the options of the search
        split: on what the study is measured: test, or val, by which the best epoch of each run was chosen
        metrics: what is shown of the runs; the first sorts them
        experiment: folder of the runs; the same plan continues in the same folder
        root: folder of all experiments
        executor: where the cells run
        retries: how often a cell that failed is started again
        time_limit: seconds after which a cell is taken for one that hangs, and ended; null never does
        page: write the report's page into the experiment's folder at the end
        list_cells: print the name and state of each cell, one a line, and start nothing
        dry_run: print how many cells there are and how they stand, and start nothing
        fresh: start in a new folder, experiment-2, -3, ..., where the experiment exists
    """

    # mappings of anything would make numbers of quoted text
    axes: dict = field(default_factory=dict)
    zip: list[list[str]] = field(default_factory=list)
    leave_out: list[dict] = field(default_factory=list)
    only: dict = field(default_factory=dict)
    seeds: int | list[int] | None = None
    folds: int | None = None
    cross_validate: int | None = None
    leave_one_out: Literal["source"] | None = None
    sources: list[str] = field(default_factory=list)
    fragments: list[str] = field(default_factory=list)
    options: dict = field(default_factory=dict)
    stack: str | None = None
    search: SearchOptions | None = None
    split: Literal["test", "val"] = "test"
    metrics: list[str] = field(default_factory=lambda: ["accuracy", "balanced_accuracy", "f1_macro", "nll"])
    experiment: str = "sweep"
    root: str = "runs"
    executor: CellExecutor = lazy(LocalExecutor)
    retries: int = 1
    time_limit: float | None = None
    page: bool = True
    list_cells: bool = False
    dry_run: bool = False
    fresh: bool = False

    def __post_init__(self) -> None:
        self.options = dotted(self.options)
        run_dir.RunOptions(self.root, self.experiment)
        check_range("--retries", self.retries, "[0, inf)")
        check_range("--time_limit", self.time_limit, "(0, inf)")
        check_range("--seeds", self.seeds, "[1, inf)" if isinstance(self.seeds, int) else SEEDS)
        check_range("--folds", self.folds, "[2, inf)")
        check_range("--cross_validate", self.cross_validate, "[2, inf)")
        check_count(self.seeds if isinstance(self.seeds, int) else 1, "seeds")
        check_count(self.folds or self.cross_validate or 1, "folds")
        if not self.metrics:
            raise ValueError("metrics must name at least one metric, such as accuracy")
        known = ("loss", *METRICS, *PROBLEM_METRICS, *REGRESSION_METRICS)
        if other := next((name for name in self.metrics if name not in known), None):
            raise ValueError(f"metrics: there is no metric {other!r}{nearest(other, known)} (known: {few(known, 30)})")
        held = [name for name in ("folds", "cross_validate", "leave_one_out") if getattr(self, name) is not None]
        if len(held) > 1:
            raise ValueError(f"{held[0]} and {held[1]} cannot be given together: both hold out")
        if self.split == "val" and held and held[0] != "folds":
            raise ValueError(f"{held[0]} makes test splits: use split test, or folds for validation splits")
        if self.sources and self.leave_one_out is None:
            raise ValueError("sources needs leave_one_out source")
        self.own_axes = [Axis.of(str(name), values) for name, values in self.axes.items()]
        if self.search is not None:
            self.search.check()
        self._check_options(held)
        self._check_zip()
        if self.search is not None:
            self._check_search(held)
        if self.stack is not None:
            self._check_stack(held)

    def _check_options(self, held: Sequence[str]) -> None:
        sets = [
            ("options", self.options),
            *((f"axes: {axis.name}", value.options) for axis in self.own_axes for value in axis.values),
            *((f"search.spaces: {name}", options) for name, options in self._drawn()),
        ]
        for owner, options in sets:
            for option in options:
                if option in TAKEN:
                    raise ValueError(f"{owner}: {option} is set by the plan: use its {TAKEN[option]}")
                if option in FOLDS and held:
                    raise ValueError(f"{owner}: {option} and {held[0]} cannot be given together: {held[0]} sets it")
                if option == "seed_everything" and self.seeds is not None:
                    raise ValueError(f"{owner}: seed_everything and seeds cannot be given together")
        self._check_owners()
        if taken := next((axis.name for axis in self.own_axes if axis.name in REPEATS), None):
            raise ValueError(f"axes: {taken!r} is the name of an axis that seeds or folds give; choose another word")

    def _drawn(self) -> list[tuple[str, dict[str, Any]]]:
        """Return which options each space sets, with an example of their values."""
        spaces = self.search.all_spaces if self.search is not None else []
        return [(space.name, space.value(drawn).options) for space in spaces for drawn in space.ends()]

    def _check_owners(self) -> None:
        sets = [(f"axes: {axis.name}", value.options) for axis in self.own_axes for value in axis.values]
        sets += [(f"search.spaces: {name}", options) for name, options in self._drawn()]
        owners: dict[str, str] = {}
        for owner, options in sets:
            for option in options:
                if (other := owners.setdefault(option, owner)) != owner:
                    # both are named once where they are of one kind
                    said = owner.removeprefix(f"{other.partition(': ')[0]}: ")
                    raise ValueError(f"{other} and {said} both set {option}: leave it to one of them")

    def _check_search(self, held: Sequence[str]) -> None:
        for name in ("axes", "zip", "leave_out", "only"):
            if getattr(self, name):
                way_out = "give values as choices in search.spaces" if name == "axes" else f"leave out {name}"
                raise ValueError(f"{name} and search cannot be given together: {way_out}")
        if held and held[0] != "folds":
            raise ValueError(f"{held[0]} and search cannot be given together: a search must not choose by test splits")

    def _check_stack(self, held: Sequence[str]) -> None:
        for name in (*held, *(name for name in ("seeds", "search") if getattr(self, name) is not None)):
            raise ValueError(f"{name} and stack cannot be given together: the axes of a stack are options of its plan")
        if self.split != "test":
            raise ValueError("a stack is measured on test: leave out split val")
        owned = [
            *self.options,
            *(option for axis in self.own_axes for value in axis.values for option in value.options),
        ]
        if taken := next((option for option in owned if option in OF_STACK), None):
            raise ValueError(f"{taken} of a stack is set by the study: leave it out of options and axes")

    def _check_zip(self) -> None:
        sizes = {axis.name: len(axis.values) for axis in self.own_axes}
        names = [name for group in self.zip for name in group]
        for name in names:
            if name not in sizes:
                raise ValueError(f"zip: there is no axis {name!r}{nearest(name, sizes)}")
            if names.count(name) > 1:
                raise ValueError(f"zip: axis {name!r} is named twice")
        for group in self.zip:
            if len({sizes[name] for name in group}) > 1:
                counts = ", ".join(f"{name} has {sizes[name]}" for name in group)
                raise ValueError(f"zip: axes that go along with each other need as many values each: {counts}")

    @property
    def held_share(self) -> float | None:
        """Samples that a fold holds out over those that it is trained on; None where there are no such folds."""
        folds = self.folds or self.cross_validate or (len(self.sources) if self.leave_one_out else 0)
        return 1 / (folds - 1) if folds > 1 else None

    @property
    def pooled(self) -> str | None:
        """The axis over which test predictions are pooled; None where each cell is tested on the same samples."""
        if self.cross_validate:
            return FOLD
        return SOURCE if self.leave_one_out else None

    def all_axes(self) -> list[Axis]:
        """Return the plan's axes, and those of folds, sources and seeds, which come last."""
        axes = list(self.own_axes)
        if folds := self.folds or self.cross_validate:
            held = {"data.num_folds": folds, "data.held_out": "val" if self.folds else "test"}
            values = [Value(str(fold), (), {**held, "data.fold": fold}) for fold in range(folds)]
            axes.append(Axis(FOLD, tuple(values), option=True))
        if self.leave_one_out:
            named = [
                Value(source, (), {"data.leave_out_source": source, "data.held_out": "test"}) for source in self.sources
            ]
            axes.append(Axis(SOURCE, tuple(named)))
        if self.seeds is not None:
            seeds = range(self.seeds) if isinstance(self.seeds, int) else self.seeds
            axes.append(Axis(SEED, tuple(Value(str(s), (), {"seed_everything": s}) for s in seeds), option=True))
        return axes


@dataclass(frozen=True)
class Study:
    """A plan's cells.

    Args:
        plan: the plan
        axes: all of them, with those of folds and seeds
        cells: in the order of the axes
        labels: the values of each cell, by its name and by axis
        chosen: the cells that are to be run now
    """

    plan: SweepPlan
    axes: list[Axis]
    cells: list[Cell]
    labels: dict[str, dict[str, str]]
    chosen: list[Cell]

    @classmethod
    def of(cls, plan: SweepPlan) -> "Study":
        """Name all cells of a plan.

        Raises:
            ValueError: there are none, or two have the same name
        """
        axes = plan.all_axes()
        left_out = [Condition.of(given, axes, "leave_out") for given in plan.leave_out]
        only = Condition.of(plan.only, axes, "only")
        zipped = {name for group in plan.zip for name in group[1:]}
        check_count(prod(len(axis.values) for axis in axes if axis.name not in zipped), "the axes")
        cells, labels = [], {}
        for values in combinations(axes, plan.zip):
            own = {axis.name: value.label for axis, value in zip(axes, values, strict=True)}
            if any(condition.holds(own) for condition in left_out):
                continue
            cell = cell_of(plan, axes, values)
            cells.append(cell)
            labels[cell.name] = own
        if not cells:
            raise ValueError("no cell is left: leave_out leaves out all of them")
        check_names(cells)
        chosen = [cell for cell in cells if only.holds(labels[cell.name])]
        if not chosen:
            raise ValueError("only: no cell that is planned has all of these values")
        return cls(plan, axes, cells, labels, chosen)


def combinations(axes: Sequence[Axis], zipped: Sequence[Sequence[str]]) -> Iterator[tuple[Value, ...]]:
    """Yield the values of each cell, in the order of the axes; the last axis changes fastest.

    Args:
        axes: to combine
        zipped: names of those that go along with each other
    """
    leader = {name: group[0] for group in zipped for name in group}
    leads = [axis for axis in axes if leader.get(axis.name, axis.name) == axis.name]
    places = {axis.name: number for number, axis in enumerate(leads)}
    own = [places[leader.get(axis.name, axis.name)] for axis in axes]
    for numbers in product(*(range(len(axis.values)) for axis in leads)):
        yield tuple(axis.values[numbers[place]] for axis, place in zip(axes, own, strict=True))


def cell_of(plan: SweepPlan, axes: Sequence[Axis], values: Sequence[Value]) -> Cell:
    """Build a cell from its values.

    Args:
        plan: the plan
        axes: all of them
        values: one of each axis
    """
    both = list(zip(axes, values, strict=True))
    words = [axis.word(value.label) for axis, value in both]
    member = [axis.word(value.label) for axis, value in both if axis.name not in REPEATS]
    options: dict[str, Any] = dict(plan.options)
    for value in values:
        options |= value.options
    fragments = (*plan.fragments, *(fragment for value in values for fragment in value.fragments))
    return Cell("-".join(words) or "run", "-".join(member) or "run", fragments, options)


def check_names(cells: Sequence[Cell]) -> None:
    """Refuse names that are no folders, or not one cell's alone.

    Raises:
        ValueError: the message names the cells
    """
    counts = Counter(cell.name for cell in cells)
    if same := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"two cells are named {few(same)}: give their values names of their own, as a mapping")
    for name in counts:
        if name in RESERVED or len(name.encode()) > LONGEST:
            raise ValueError(
                f"cell {name!r}: this cannot be its folder's name: give its values short names, as a mapping"
            )
        run_dir.RunOptions(name=name)
