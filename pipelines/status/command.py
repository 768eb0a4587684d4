"""`python train.py status`: how runs, cells and jobs stand, from any machine that sees their folder."""

from argparse import ArgumentError
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common import slurm
from common.few import count_of
from common.terminal import print_whole
from pipelines.cells.watch import COLOURS
from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.status.experiment import Experiment, experiments_in, is_run, look_at
from pipelines.status.standing import STATES, Standing, standing_of
from records.run_dir import RunDir

# rows of a table; the others are counted
SHOWN = 40
MORE_COLOURS = {"silent": "yellow", "lost": "red", "damaged": "red", "unfinished": "yellow"}


@dataclass
class StatusOptions:
    """What is shown.

    Args:
        all: show every run; otherwise what is done or waits is counted where there is much
    """

    all: bool = False


def main(args: list[str]) -> int:
    """Run `python train.py status`.

    Args:
        args: the command line after `status`

    Returns:
        the exit status

    Raises:
        UsageError: there is no such folder, or no run in it
    """
    parser = ArgumentParser(prog="train.py status", description=__doc__, exit_on_error=False, allow_abbrev=False)
    parser.add_argument(
        "folder", nargs="?", type=str, default="runs", help="Of a run, an experiment, or all experiments."
    )
    parser.add_class_arguments(StatusOptions)
    try:
        parsed = parser.parse_args(args)
    except ArgumentError as error:
        raise UsageError(explain_parsing(str(error), parser, args)) from error
    print_status(Path(parsed.folder), Console(), parsed.all)
    return 0


def print_status(folder: Path, console: Console, every: bool = False) -> None:
    """Print how all stands that a folder holds.

    Args:
        folder: of a run, an experiment, or all experiments
        console: where to print
        every: whether all rows are shown

    Raises:
        UsageError: there is no such folder, or no run in it
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name that of a run, of an experiment, or of all experiments")
    queue = slurm.queued()
    if is_run(folder):
        print_experiment(console, Experiment(folder.parent, [standing_of(RunDir(folder), queue)]), every)
        return
    experiments = experiments_in(folder)
    if not experiments:
        raise UsageError(f"{folder} holds no run: name the folder of a run, of an experiment, or of all experiments")
    for experiment in experiments:
        print_experiment(console, look_at(experiment, queue), every)


def print_experiment(console: Console, found: Experiment, every: bool) -> None:
    """Print the table of an experiment, and what is to be said of its command."""
    rows = found.rows
    table = Table(title=escape(f"{found.folder}/"), title_justify="left")
    for name in ("run", "state", "epoch", "metric", "note"):
        table.add_column(name, justify="right" if name == "epoch" else "left", overflow="fold")
    shown, hidden = (rows, []) if every or len(rows) <= SHOWN else choose(rows)
    for row in shown:
        colour = {**COLOURS, **MORE_COLOURS}.get(row.state, "dim")
        state = f"[{colour}]{escape(row.state)}[/]"
        table.add_row(escape(row.name), state, escape(row.epoch), escape(row.metric), escape(row.note))
    if hidden:
        table.add_section()
        table.add_row(f"and {len(hidden)} more", "", "", "", f"{counts_of(hidden)}; all by --all true")
    if rows:
        print_whole(console, table)
    told = f"{count_of(len(rows), 'run')}: {counts_of(rows)}" if rows else f"{found.folder}/: no run has begun"
    console.print(told, soft_wrap=True, highlight=False, markup=False)
    for note in found.notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)


def choose(rows: Sequence[Standing]) -> tuple[list[Standing], list[Standing]]:
    """Choose the rows that need a look, in their order; return them, and the others."""
    ranked = sorted(rows, key=lambda row: STATES.index(row.state) if row.state in STATES else 0)
    kept = {row.name for row in ranked[: SHOWN - 2]}
    return [row for row in rows if row.name in kept], [row for row in rows if row.name not in kept]


def counts_of(rows: Sequence[Standing]) -> str:
    """Say how many runs stand in which way."""
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]} {state}" for state in (*reversed(STATES),) if counts[state])
