"""A stack's plan, looked at before anything runs: each member's command line, and how the members fit together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from common.few import few
from common.settings import flat
from common.warned import warn
from datamodules import DataModule
from lightning_modules.checkpoint_io import file_sha256
from pipelines.cells.cell import Cell
from pipelines.cells.fit_parser import FitParser
from pipelines.cells.settings import check_texts, with_digest
from pipelines.cli.errors import explain
from pipelines.cli.option_checks import check_seed, check_trainer
from pipelines.stack.members import meta_samples, tested_samples
from pipelines.stack.plan import Member, StackPlan

# settings of the long tail, which change the held-out samples only where these have it too
LONG_TAIL = frozenset({"data.long_tail", "data.imbalance_ratio"})
# settings of the data that change neither the held-out samples nor their pixels, but only how a member is trained or
# how images are read
TRAINING_SETTINGS = frozenset(
    f"data.{name}"
    for name in (
        "batch_size",
        "subsample",
        "long_tail",
        "imbalance_ratio",
        "sampler",
        "augmentation",
        "strong_augmentation",
        "strong_classes",
        "mixup",
        "cutmix",
        "num_workers",
        "cache",
        "cache_dir",
        "stage_dir",
        "download",
        "predict_root",
    )
)


@dataclass
class Checked:
    """What is known of a plan once its command lines are parsed.

    Args:
        settings: all that each cell is configured with, flat, by the cells' names
        configs: each cell's configuration, by the cells' names
        parser: that has parsed them
        digest: hashes a file's content, each file once
    """

    settings: dict[str, dict[str, Any]]
    configs: dict[str, Namespace]
    parser: FitParser
    digest: Callable[[Path], str] = field(default_factory=lambda: cache(file_sha256))

    def add(self, other: "Checked") -> None:
        """Add what is known of another plan's cells, such as a repeat's."""
        self.settings |= other.settings
        self.configs |= other.configs


def check(plan: StackPlan, here: bool = True, parser: FitParser | None = None) -> Checked:
    """Parse each member's command line, and compare what the members need of each other.

    Args:
        plan: the plan
        here: whether the command runs on this machine
        parser: of command lines; None makes one

    Returns:
        each cell's settings

    Raises:
        ValueError: a command line is wrong, with the member's name, or the members do not fit together
    """
    checked = Checked({}, {}, parser or FitParser())
    faults: dict[str, list[str]] = {}
    cause: Exception | None = None
    for member in plan.members:
        try:
            _check_member(plan, member, checked, here)
        except Exception as error:
            faults.setdefault(explain(error), []).append(repr(member.name))
            cause = cause or error
    if faults:
        told = (f"member{'s' * (len(names) > 1)} {few(names)}: {text}" for text, names in faults.items())
        raise ValueError("; ".join(told)) from cause
    _check_same_data(plan, checked.settings)
    return checked


def _check_member(plan: StackPlan, member: Member, checked: Checked, here: bool) -> None:
    cells, parser = plan.cells_of(member), checked.parser
    # without what the plan sets, so that a fragment that sets it is noticed
    options = plan.options_of(member)
    free = Cell(member.name, member.name, cells[0].fragments, options)
    config = parser.parse(free.settings)
    check_seed(config.seed_everything)
    check_trainer(config.trainer, "fit", here=here and not (plan.executor.elsewhere or plan.dry_run))
    data = config.data.init_args
    _check_data(plan, data)
    for cell in cells:
        own = config.clone()
        if cell.fold is not None:
            own.data.init_args.update(Namespace(num_folds=plan.num_folds, fold=cell.fold, held_out="stack"))
        if cell is cells[0]:
            # refuses ranges and conflicts; reads no image
            parser.build(data=own.data)
        checked.configs[cell.name] = own
        settings = flat(parser.plain(own))
        if cell.starts_from is not None:
            settings["model.weights"] = f"those of the run {cell.starts_from}"
        checked.settings[cell.name] = with_digest(settings, checked.digest)
    check_texts(options, checked.settings[cells[0].name])


def _check_data(plan: StackPlan, data: Namespace) -> None:
    for name, given in (("num_folds", data.num_folds is not None), ("held_out", data.held_out != "val")):
        if given:
            raise ValueError(
                f"data.{name} {data[name]} of a fragment and the stack's mode {plan.mode} cannot be given together: "
                f"mode oof sets it"
            )
    if plan.mode == "holdout" and not data.stack_fraction:
        raise ValueError(
            "mode holdout fits the heads on the split stack, which is empty: set data.stack_fraction, such as 0.1, in "
            "the plan's options, or use mode oof or val"
        )
    # mode train is compared with holdout over the same members
    if plan.mode in ("oof", "val") and data.stack_fraction:
        raise ValueError(
            f"data.stack_fraction {data.stack_fraction} and mode {plan.mode} cannot be given together: no head would "
            f"use the split stack; leave it out, or use mode holdout"
        )


def _check_same_data(plan: StackPlan, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse members with other splits, samples or pixels: all predict the samples of the first one's data."""
    # folds are held out before the validation split is drawn, and each training sample is in one of them
    free = TRAINING_SETTINGS | ({"data.val_fraction"} if plan.mode == "oof" else frozenset())
    # a member's cells differ in the fold alone
    first, *others = (plan.cells_of(member)[0] for member in plan.members)
    if settings[first.name].get("data.long_tail_in") == "all":
        free -= LONG_TAIL
    differences = []
    for cell in others:
        ours, theirs = settings[first.name], settings[cell.name]
        for name in dict.fromkeys((*ours, *theirs)):
            if name.partition(".")[0] == "data" and name not in free and ours.get(name) != theirs.get(name):
                values = f"({ours.get(name)}, {theirs.get(name)})"
                differences.append(f"members {first.member!r} and {cell.member!r} differ in {name} {values}")
    if differences:
        raise ValueError(
            f"{few(differences, shown=3)}: the heads need the same samples, held out of the training of all, with the "
            f"same pixels; set it once in the plan's options (the size that a member works at is model.input_size)"
        )


def check_samples(plan: StackPlan, data: DataModule) -> None:
    """Read the data, and refuse what would fail each cell, or the stack after all of them.

    Args:
        plan: the plan
        data: that of the first cell

    Raises:
        ValueError: there is no such data, a class is too small, or no sample for the heads or for the test
    """
    # classes without a training image are found with it
    info = data.info
    if info.table is not None and info.table.target is not None:
        raise ValueError("a stack combines classifiers, and --data.task regression has a number to predict")
    for note in data.training_notes():
        warn(note)
    meta_samples(plan, data)
    tested_samples(data)
