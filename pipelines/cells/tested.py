"""A cell's test, which comes after its fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import class_paths
from pipelines.cells.cell import Cell

# options of a cell that its test needs too: how it is computed and what it draws, not what is trained
OF_THE_TEST = ("trainer.accelerator", "trainer.devices", "trainer.precision", "trainer.enable_progress_bar", "figures.")
DRAW = "figures.draw"


def drawn(given: Mapping[str, Any]) -> list[str]:
    """Draw no pictures of a cell that does not ask for them: the report draws its own.

    Args:
        given: the cell's settings, flat
    """
    return [] if any(name.startswith(DRAW) for name in given) else [f"--{DRAW}=false"]


def test_command(cell: Cell, folder: Path, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the command line of `train.py` that tests a trained cell.

    Args:
        cell: the cell
        folder: the experiment's
        given: the cell's settings, flat
    """
    # fragments say it too, such as that of a GPU's precision
    every = {**given, **cell.options}
    options = {name: value for name, value in every.items() if name.startswith(OF_THE_TEST)}
    shared = Cell(cell.name, cell.member, (), options)
    run = str(folder / cell.name)
    return ("test", "--ckpt_path", run, *shared.settings, *drawn(given), *class_paths.options())
