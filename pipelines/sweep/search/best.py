"""The best trial of a search: its values as a config fragment, and its refit on training and validation samples."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.settings import flat
from common.yaml_files import read_mapping
from pipelines.cells.cell import Cell
from pipelines.cells.fit_parser import FitParser
from pipelines.cells.job import CellJob
from pipelines.cells.tested import test_command
from pipelines.cli.fragments import fragment, values_of, write_fragment
from pipelines.sweep.check import given, read_fragment
from pipelines.sweep.plan import FOLDS, SweepPlan
from pipelines.sweep.search.limits import Scales
from pipelines.sweep.search.study import FOLDER
from pipelines.sweep.search.trials import TrialCells, job_of
from records.locks import one_at_a_time
from records.search_file import SearchTrial

FILE = "best.yaml"
REFIT = "refit-{}"


def best_cells(plan: SweepPlan, trial: SearchTrial, drawn: Mapping[str, Any]) -> tuple[TrialCells, list[str]]:
    """Name the cells of the best trial, and the options that it has drawn.

    Args:
        plan: of the search
        trial: the best
        drawn: its values, as Optuna knows them
    """
    assert plan.search is not None
    values = [space.value(drawn[space.name]) for space in plan.search.all_spaces]
    names = [name for value in values for part in value.fragments for name in read_fragment(part)]
    names += [name for value in values for name in value.options]
    return TrialCells.of(plan, trial.name, values), list(dict.fromkeys(names))


def write_best(path: Path, parser: FitParser, cell: Cell, names: list[str], comments: tuple[str, ...]) -> None:
    """Write the values of the best trial as a fragment, for `fit --config`.

    Args:
        path: of the file
        parser: of command lines
        cell: of the trial
        names: of the options that it has drawn
        comments: lines above it
    """
    config = parser.plain(parser.parse(cell.settings))
    # what the data tells the model is no option, and a class comes with the options that it was given
    values = {name: without_info(value) for name, value in values_of(config, names).items()}
    content = fragment(config, values)
    with one_at_a_time(path.parent / FOLDER / "best.lock"):
        # the same may be there already, by a process that works on the same search
        if not path.is_file() or read_mapping(path) != content:
            write_fragment(path, content, comments)


def without_info(value: Any) -> Any:
    """Leave out of a model's configuration what its data tells it."""
    if not isinstance(value, Mapping) or "data_info" not in (value.get("init_args") or {}):
        return value
    return {**value, "init_args": {name: inner for name, inner in value["init_args"].items() if name != "data_info"}}


def refit_cell(trial: TrialCells, best_epoch: int, scales: Scales) -> tuple[Cell, str]:
    """Name the run that trains the best trial's values once more, on all images that are not for the test.

    Without validation nothing can choose the epoch: it is trained for as many as the trial kept. A validation split
    that the data brings stays one.

    Args:
        trial: the best
        best_epoch: how many epochs it kept, the mean over its cells
        scales: builds its data

    Returns:
        the run, and what to say of it
    """
    first = trial.cells[0]
    options = {name: value for name, value in first.options.items() if name not in FOLDS}
    cell = replace(first, name=REFIT.format(first.member), options=options)
    whole = {
        **options,
        "data.val_fraction": 0.0,
        "early_stopping.patience": None,
        "trainer.max_epochs": best_epoch,
        "trainer.max_steps": -1,
    }
    config = scales.parser.parse(replace(cell, options=whole).settings)
    if len(scales.data(config).samples("val")):
        return cell, "on the training images, as the data has a validation split of its own"
    if str(flat(scales.parser.plain(config)).get("model.schedule")) == "Plateau":
        return cell, "on the training images alone, as its schedule watches validation"
    return replace(cell, options=whole), f"on training and validation samples, for {best_epoch} epochs"


def refit_job(cell: Cell, plan: SweepPlan, folder: Path) -> CellJob:
    """Return what a worker needs to know to refit, and to test once if the plan is measured on test.

    Args:
        cell: of the refit
        plan: of the search
        folder: the experiment's
    """
    settings = given([cell])[cell.name]
    job = job_of(cell, plan, folder, settings)
    job.files.stop.unlink(missing_ok=True)
    if plan.split != "test":
        return job
    return replace(job, then=test_command(cell, folder, settings), proof="test")
