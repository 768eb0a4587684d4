"""How the cells of a study stand, by their records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.few import count_of
from common.terminal import print_whole
from pipelines.cells.cell import Cell
from pipelines.cells.folder import CellError
from pipelines.cells.job import CellFiles
from pipelines.sweep.plan import Study
from records.damaged import DamagedFileError

# in the order in which they are told
STATES = ("done", "unfinished", "failed", "damaged", "changed", "planned")
# values of an axis that the table lists
LISTED = 30


@dataclass(frozen=True)
class State:
    """How a cell stands.

    Args:
        word: done; unfinished (begun, and gone on with); failed (when it was last run); damaged (a file of it); changed
            (it was trained with other settings); or planned
        why: it is damaged or changed
    """

    word: str
    why: str = ""


def states_of(
    cells: Sequence[Cell], folder: Path, settings: Mapping[str, Mapping[str, Any]], proof: str
) -> dict[str, State]:
    """Look at the records of cells.

    Args:
        cells: of the study
        folder: the experiment's
        settings: that each is given, by the cells' names
        proof: what result.json holds once one is done

    Returns:
        by the cells' names
    """
    # most of a large study has not been begun
    begun = {path.stem for path in (folder / "cells").glob("*.json")} if folder.is_dir() else set[str]()
    begun |= {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    planned = State("planned")
    return {
        cell.name: state_of(CellFiles(folder, cell.name, proof), settings[cell.name]) if cell.name in begun else planned
        for cell in cells
    }


def state_of(files: CellFiles, settings: Mapping[str, Any]) -> State:
    """Look at the record of a cell; see `states_of`."""
    try:
        record = files.read()
        if why := files.refusal(settings, record):
            return State("changed", why)
        if files.run.weights.is_file() and files.is_done_by(record):
            return State("done")
        status = record.get("status", "planned")
    except DamagedFileError as error:
        return State("damaged", str(error))
    return State({"failed": "failed", "planned": "planned"}.get(str(status), "unfinished"))


def refuse_changed(states: Mapping[str, State]) -> None:
    """Refuse to go on where cells were trained with other settings.

    Args:
        states: of the cells

    Raises:
        CellError: some were; the message names the first one's changes
    """
    changed = {name: state for name, state in states.items() if state.word == "changed"}
    if changed:
        first, *others = changed.values()
        more = f" ({len(others)} other cells were trained with other settings, too)" if others else ""
        raise CellError(f"{first.why}{more}")


def counts_of(states: Mapping[str, State]) -> str:
    """Say how many cells stand in which way."""
    counts = Counter(state.word for state in states.values())
    return ", ".join(f"{counts[word]:,} {word}" for word in STATES if counts[word])


def print_plan(console: Console, study: Study, folder: Path, states: Mapping[str, State], slots: int) -> None:
    """Print how a study stands by the values of its axes; start nothing.

    Args:
        console: where to print
        study: its cells
        folder: the experiment's
        states: of all its cells
        slots: cells that run at once
    """
    table = Table(title=escape(f"{study.plan.experiment}: {plan_of(study)}"), title_justify="left")
    for name in ("axis", "value", "cells", "done"):
        table.add_column(name, justify="left" if name in ("axis", "value") else "right")
    done = {name for name, state in states.items() if state.word == "done"}
    for axis in study.axes:
        cells = Counter(labels[axis.name] for labels in study.labels.values())
        finished = Counter(study.labels[name][axis.name] for name in done)
        for number, value in enumerate(axis.values[:LISTED]):
            label = escape(value.label)
            name = "" if number else escape(axis.name)
            table.add_row(name, label, f"{cells[value.label]:,}", f"{finished[value.label]:,}")
        if len(axis.values) > LISTED:
            table.add_row("", f"and {len(axis.values) - LISTED:,} more")
        table.add_section()
    print_whole(console, table)
    chosen = "" if len(study.chosen) == len(study.cells) else f" ({len(study.chosen):,} of them are to be run now)"
    told = f"{count_of(len(study.cells), 'cell')}{chosen}: {counts_of(states)}; {slots} at once: {folder}/"
    console.print(told, soft_wrap=True, highlight=False)


def plan_of(study: Study) -> str:
    """Say what a study crosses, such as `model (3) x loss (4) x seed (5)`."""
    zipped = {name: group for group in study.plan.zip for name in group[1:]}
    factors = [f"{axis.name} ({len(axis.values)})" for axis in study.axes if axis.name not in zipped]
    return " x ".join(factors) or "one run"
