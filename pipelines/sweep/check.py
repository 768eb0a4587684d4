"""A study's cells, looked at before anything runs: each kind of command line, parsed as `fit` would parse it."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from common.few import count_of, few
from common.settings import flat
from common.yaml_files import read_mapping
from lightning_modules.checkpoint_io import file_sha256
from pipelines.cells.cell import Cell
from pipelines.cells.fit_parser import FitParser
from pipelines.cells.settings import check_texts, given_settings
from pipelines.cli.errors import explain
from pipelines.cli.option_checks import check_seed, check_trainer
from pipelines.cli.parsed_cli import DEFAULTS
from pipelines.sweep.plan import SOURCE, Study, SweepPlan

# command lines that are parsed, each of which takes up to half a second
PARSED = 40


def given(cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Name the settings that each cell is given, by the cells' names; see `given_settings`.

    Args:
        cells: whose fragments are read, each once

    Raises:
        YAMLFileError: one cannot be read
    """
    read, digest = cache(read_fragment), cache(file_sha256)
    return {
        cell.name: given_settings([read(str(DEFAULTS)), *map(read, cell.fragments)], cell.options, digest)
        for cell in cells
    }


def read_fragment(name: str) -> dict[str, Any]:
    """Read a config file.

    Raises:
        YAMLFileError: it cannot be read
    """
    return flat(read_mapping(Path(name)))


def check(study: Study, parser: FitParser, here: bool = True) -> None:
    """Parse one cell of each kind, and one for each value of each axis.

    Args:
        study: its cells
        parser: of command lines
        here: whether the command runs on this machine

    Raises:
        ValueError: a command line is wrong; the message names the values of the cells, and what was probably meant
    """
    check_cells(examples(study), study.plan, parser, here)


def check_cells(cells: Sequence[Cell], plan: SweepPlan, parser: FitParser, here: bool = True) -> list[Namespace]:
    """Parse the command lines of some cells, and tell all faults at once.

    Args:
        cells: of the study
        plan: of the study
        parser: of command lines
        here: whether the command runs on this machine

    Returns:
        what each is configured with

    Raises:
        ValueError: a command line is wrong
    """
    configs = []
    faults: dict[str, list[str]] = {}
    cause: Exception | None = None
    for cell in cells:
        try:
            configs.append(check_cell(cell, plan, parser, here))
        except Exception as error:
            faults.setdefault(explain(error), []).append(cell.name)
            cause = cause or error
    if faults:
        told = [
            f"{text} ({count_of(len(names), 'cell')} looked at, such as {few(names, 2)})"
            for text, names in faults.items()
        ]
        raise ValueError("; ".join(told)) from cause
    return configs


def check_cell(cell: Cell, plan: SweepPlan, parser: FitParser, here: bool = True) -> Namespace:
    """Parse a cell's command line, and refuse ranges and conflicts; no image is read.

    Args:
        cell: one of the study
        plan: of the study
        parser: of command lines
        here: whether the command runs on this machine

    Returns:
        what it is configured with
    """
    config = parser.parse(cell.settings)
    check_seed(config.seed_everything)
    runs_here = here and not (plan.executor.elsewhere or plan.dry_run or plan.list_cells)
    check_trainer(config.trainer, "fit", here=runs_here)
    parser.build(data=config.data)
    check_texts(cell.options, flat(parser.plain(config)))
    return config


def examples(study: Study) -> list[Cell]:
    """Choose as few cells as hold every value of every axis, then one of each kind, up to a number.

    Cells are of one kind if they have the same fragments, the same options, and the same words as values of these: a
    word may name a class, which decides on the options that there are.

    Args:
        study: its cells
    """
    wanted = {(axis, label) for labels in study.labels.values() for axis, label in labels.items()}
    chosen: list[Cell] = []
    left = [(cell, set(study.labels[cell.name].items())) for cell in study.cells]
    while wanted:
        best, covered = max(left, key=lambda pair: len(pair[1] & wanted))
        chosen.append(best)
        wanted -= covered
    kinds = {kind_of(cell) for cell in chosen}
    for cell in study.cells:
        if len(chosen) >= PARSED:
            break
        if (kind := kind_of(cell)) not in kinds:
            kinds.add(kind)
            chosen.append(cell)
    return chosen


def kind_of(cell: Cell) -> tuple[object, ...]:
    """Return what decides on the options that a cell's command line may have."""
    return cell.fragments, tuple(
        (name, repr(value) if may_name_class(value) else "") for name, value in cell.options.items()
    )


def may_name_class(value: Any) -> bool:
    """Tell whether the value of an option may name a class."""
    return isinstance(value, Mapping) or (isinstance(value, str) and value.replace(".", "").replace("_", "").isalpha())


def sources_of(plan: SweepPlan, parser: FitParser) -> list[str]:
    """Read the names of the sources that `leave_one_out` leaves out in turn.

    Args:
        plan: whose first values say which data is meant
        parser: of command lines

    Raises:
        ValueError: the data has fewer than two
    """
    axes = [axis for axis in plan.all_axes() if axis.name != SOURCE]
    options = dict(plan.options)
    fragments = [*plan.fragments]
    for axis in axes:
        options |= axis.values[0].options
        fragments += axis.values[0].fragments
    config = parser.parse(Cell("sources", "sources", tuple(fragments), options).settings)
    names = list(parser.build(data=config.data).data.dataset.source_names)
    if len(names) < 2:
        raise ValueError(
            f"leave_one_out source needs images of two sources at least, and the data has {few(names) or 'none'}: "
            f"a manifest with a source column has them"
        )
    return names
