"""A stack's plan and its cost, printed instead of run."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.options import options_with
from common.terminal import print_whole
from common.words import duration
from datamodules import DataInfo, DataModule, ImageDataModule
from pipelines.cells.fit_parser import FitParser
from pipelines.cells.job import CellFiles
from pipelines.stack.data import refuse_changed_cells
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.plan_check import Checked, check_samples
from pipelines.stack.power import visible_gain


@dataclass
class Cost:
    """What a cell costs to train.

    Args:
        parameters: of the model
        images: for training, an epoch
        epochs: at most
        steps: of the optimizer, at most
    """

    parameters: int
    images: int
    epochs: int
    steps: int


def print_costs(console: Console, plan: StackPlan, checked: Checked, folder: Path) -> None:
    """Print the cells of each member and what they cost; start nothing, and leave the experiment's folder alone.

    Args:
        console: where to print
        plan: the plan
        checked: its configurations
        folder: the experiment's
    """
    datasets: dict[str, DataModule] = {}
    found = costs(plan, checked, folder, datasets)
    told = visible_gain(plan, next(iter(datasets.values())), folder)
    slots = plan.executor.slots(len(plan.cells))
    print_whole(console, cost_table(plan, folder, found))
    left = [_left(plan, member, folder) for member in plan.members]
    done = sum(CellFiles(folder, cell.name).is_done for cell in plan.cells)
    console.print(
        f"{len(plan.cells)} cells, {done} of them done, {slots} at once: {folder}/", soft_wrap=True, highlight=False
    )
    if all(seconds is not None for seconds in left):
        total = sum(seconds for seconds in left if seconds is not None)
        console.print(f"about {duration(total / slots)} left, as measured on the cells that are done", highlight=False)
    if plan.repeats > 1:
        console.print(f"all of this {plan.repeats} times, with other seeds: repeats {plan.repeats}", highlight=False)
    console.print(told, soft_wrap=True, highlight=False)


def cost_table(plan: StackPlan, folder: Path, found: dict[str, Cost]) -> Table:
    """Build the table of members and their costs.

    Args:
        plan: the plan
        folder: the experiment's, which holds what was measured
        found: the cost of each cell by its name
    """
    table = Table(title=f"{plan.experiment}, mode {plan.mode}", title_justify="left")
    for name in ("member", "cells", "done", "parameters", "epochs", "images", "steps", "s/cell"):
        table.add_column(name, justify="left" if name == "member" else "right", no_wrap=True)
    steps = 0
    for member in plan.members:
        cells = plan.cells_of(member)
        costs = [found[cell.name] for cell in cells]
        steps += sum(cost.steps for cost in costs)
        measured = _measured(plan, member, folder)
        images = sorted({cost.images for cost in costs})
        table.add_row(
            escape(member.name),
            str(len(cells)),
            str(sum(CellFiles(folder, cell.name).is_done for cell in cells)),
            f"{costs[0].parameters:,}",
            str(costs[0].epochs),
            f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,}–{images[-1]:,}",
            f"{sum(cost.steps for cost in costs):,}",
            f"{measured:.0f}" if measured is not None else "–",
        )
    table.add_section()
    table.add_row("total", str(len(plan.cells)), "", "", "", "", f"{steps:,}", "")
    return table


def _measured(plan: StackPlan, member: Member, folder: Path) -> float | None:
    files = [CellFiles(folder, cell.name) for cell in plan.cells_of(member)]
    seconds = [file.read()["seconds"] for file in files if file.is_done]
    return mean(seconds) if seconds else None


def _left(plan: StackPlan, member: Member, folder: Path) -> float | None:
    waiting = [cell for cell in plan.cells_of(member) if not CellFiles(folder, cell.name).is_done]
    measured = _measured(plan, member, folder)
    if not waiting:
        return 0.0
    return None if measured is None else measured * len(waiting)


def costs(
    plan: StackPlan, checked: Checked, folder: Path, datasets: dict[str, DataModule] | None = None
) -> dict[str, Cost]:
    """Build each cell's data and each member's model, and count.

    Args:
        plan: the plan
        checked: its configurations
        folder: the experiment's
        datasets: is given what was read, by its options, that of the first cell first

    Returns:
        the cost of each cell by its name
    """
    datasets = {} if datasets is None else datasets
    found: dict[str, Cost] = {}
    # those that change nothing in what is read; the size is served, and read with it
    own = {f.name for role in ("split", "serving") for f in options_with(ImageDataModule, role)} - {"image_size"}
    for member in plan.members:
        parameters = 0
        for cell in plan.cells_of(member):
            config = checked.configs[cell.name]
            data: DataModule = checked.parser.build(data=config.data).data
            # the images are read once for all cells that draw from the same
            options = {name: value for name, value in config.data.init_args.as_dict().items() if name not in own}
            key = f"{config.data.class_path} {options}"
            first = datasets.setdefault(key, data)
            if first is not data:
                data.share(first.dataset)
            if not found:
                refuse_changed_cells(folder, plan.cells, data, plan.allow_changed)
                check_samples(plan, data)
            if not parameters:
                parameters = _parameters(checked.parser, config, first.info)
            found[cell.name] = Cost(parameters, *_steps(config.trainer, data))
    return found


def _parameters(parser: FitParser, config: Namespace, info: DataInfo) -> int:
    model = config.model.clone()
    model.init_args.data_info = Namespace(info.plain())
    for name in ("pretrained", "weights_head"):
        if name in model.init_args:
            # nothing is downloaded to be counted, and weights that a member starts from may not be there yet
            model.init_args[name] = False
    return sum(parameter.numel() for parameter in parser.build(model=model).model.parameters())


def _steps(trainer: Namespace, data: DataModule) -> tuple[int, int, int]:
    batches, limit = len(data.train_dataloader()), trainer.limit_train_batches
    if isinstance(limit, int):
        batches = min(batches, limit)
    elif isinstance(limit, float):
        batches = int(batches * limit)
    images = min(len(data.samples("train")), batches * data.batch_size)
    epochs = 1000 if trainer.max_epochs is None else trainer.max_epochs
    steps = -(-batches // trainer.accumulate_grad_batches) * epochs
    return images, epochs, steps if trainer.max_steps in (None, -1) else min(steps, trainer.max_steps)
