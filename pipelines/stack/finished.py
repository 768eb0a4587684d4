"""A plan's finished cells, read: the members' logits for the samples of the heads and of the test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from common import class_paths, yaml_files
from datamodules import DataModule
from datamodules.dataset import Dataset
from ensembling.leakage import Leakage
from pipelines.cli.configured_data import build_data
from pipelines.stack.data import refuse_changed_cells
from pipelines.stack.members import (
    LogitSource,
    MemberLogits,
    MemberRun,
    TrainedMember,
    check_leakage,
    meta_samples,
    overlaps_with_test,
    tested_samples,
)
from pipelines.stack.plan import StackPlan
from records.damaged import damaged
from records.recorded import check_recorded
from records.result_files import read_result
from records.run_dir import RunDir


@dataclass(frozen=True)
class Finished:
    """What the finished cells of a plan say.

    Args:
        config: the resolved configuration of the first member's first run
        data: brings the samples
        members: with their runs
        folds: how many meta samples each fold has
        meta: the members' logits for the meta samples, fold by fold
        test: the members' logits for the test samples
        leakage: overlaps between the meta samples and what the members have seen
        overlaps: notes on test samples that members or heads have seen
        source: of the logits
    """

    config: dict[str, Any]
    data: DataModule
    members: list[TrainedMember]
    folds: list[int]
    meta: MemberLogits
    test: MemberLogits
    leakage: Leakage
    overlaps: list[str]
    source: LogitSource


def read_cells(plan: StackPlan, folder: Path, console: Console, dataset: Dataset | None = None) -> Finished:
    """Read the finished cells of a plan, and compute their logits where no earlier run has kept them.

    Args:
        plan: all of whose cells are finished
        folder: the experiment's
        console: where to report
        dataset: the plan's images, if they have been read already

    Raises:
        LeakageError: a member was fitted on meta samples
    """
    runs = {cell.name: MemberRun.of(RunDir(folder / cell.name)) for cell in plan.cells}
    members = [
        TrainedMember(
            member.name,
            [runs[cell.name] for cell in plan.held_out_cells(member)],
            [runs[cell.name] for cell in plan.tested_cells(member)],
        )
        for member in plan.members
    ]
    check_configs(members)
    path = members[0].held_out[0].files.config
    config = yaml_files.read_mapping(path)
    class_paths.judge_all(config, str(path))
    data = build_data(config["data"])
    if dataset is not None:
        data.share(dataset)
    # checked again: all cells may have been finished before, or the data changed while they were trained
    changed = refuse_changed_cells(folder, plan.cells, data, plan.allow_changed)
    for member in members:
        member.check_data(data)
    source = LogitSource(plan, config["trainer"])
    if source.note:
        console.print(f"[yellow]note:[/] {source.note}", soft_wrap=True, highlight=False)
    folds, leakage = check_leakage(plan, members, meta_samples(plan, data))
    leakage = replace(leakage, changed=changed)
    overlaps = overlaps_with_test(members, folds, tested_samples(data))
    console.print(f"{sum(map(len, folds)):,} samples for the heads, {len(data.samples('test')):,} for the test")
    meta = source.held_out(members, data, folds)
    test = source.tested(members, data)
    console.print(str(source.counts))
    return Finished(config, data, members, list(map(len, folds)), meta, test, leakage, overlaps, source)


def check_configs(members: Sequence[TrainedMember]) -> None:
    """Refuse configs that are no longer those that their runs were trained with: the data of the first is built anew.

    Args:
        members: with their runs

    Raises:
        DamagedFileError: one has changed
    """
    for member in members:
        for run in (*member.held_out, *member.tested):
            way_out = "copy it again, or remove its folder and train it anew by the same command"
            if not run.files.config.is_file():
                raise damaged(run.files.config, "it is missing", way_out)
            check_recorded(run.files.config, read_result(run.files.result), way_out)
