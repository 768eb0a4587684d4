"""A stack's cells while they run: a live table on a terminal, one line a cell elsewhere."""

import contextlib
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from common.words import duration
from pipelines.cells.cell import Cell
from pipelines.cells.job import CellFiles, Outcome, is_running
from records.damaged import DamagedFileError

State = Literal["waiting", "running", "retry", "done", "failed", "stopped"]
COLOURS = {"running": "cyan", "retry": "yellow", "done": "green", "failed": "red", "stopped": "yellow"}
# lines of the terminal that are left to other things
MARGIN = 7
# bytes at the end of a file that are read for its last rows
TAIL_BYTES = 8192


@dataclass
class Progress:
    """How far a cell is.

    Args:
        state: of the cell
        epoch: epochs that are finished
        metric: the newest value by which its best epoch is chosen; None before the first
        seconds: of training so far, in all its processes
        left: seconds until it is finished; None where nothing tells
    """

    state: State = "waiting"
    epoch: int = 0
    metric: float | None = None
    seconds: float = 0.0
    left: float | None = None


class CellWatch:
    """Follow one cell by its record and its run's metrics.csv.

    Args:
        cell: the cell
        folder: the experiment's
        settings: all that it is configured with
    """

    def __init__(self, cell: Cell, folder: Path, settings: Mapping[str, Any]) -> None:
        self.cell, self.files = cell, CellFiles(folder, cell.name)
        self.epochs = settings.get("trainer.max_epochs")
        self.monitor = str(settings.get("best_checkpoint.monitor", "val/accuracy"))
        self.progress = Progress()
        self.record: dict[str, Any] = {}
        self._stamp = 0
        self._began: tuple[float, int] | None = None
        # a record that a lost process left says nothing about the next one
        self._earlier = self.files.read().get("started")

    def end(self, outcome: Outcome, again: bool) -> None:
        """Note how it ended, or that it is started again."""
        self._read_metrics()
        # taken from the record that was seen: the next process may have started by now
        self._earlier = self.record.get("started", self._earlier)
        self.progress.state = "retry" if again else outcome.status
        self.progress.seconds = outcome.seconds or self.progress.seconds
        self.progress.left = None

    def look(self) -> None:
        """Read what it has written since."""
        if self.progress.state in ("done", "failed", "stopped") or not self.files.record.is_file():
            return
        stamp = self.files.record.stat().st_mtime_ns
        if stamp != self._stamp:
            self._stamp, self.record = stamp, self.files.read()
        if not is_running(self.record, self._earlier):
            return
        self.progress.state = "running"
        started = self.record["started"]
        if self._began is None or self._began[0] != started:
            self._began = (started, self._read_metrics())
        self.progress.seconds = self.record["seconds"] + time.time() - started
        self._estimate(*self._began, self._read_metrics())

    def _estimate(self, started: float, before: int, epoch: int) -> None:
        if epoch > before and self.epochs:
            reached = self._metrics.stat().st_mtime
            rest = (reached - started) / (epoch - before) * (self.epochs - epoch)
            self.progress.left = max(0.0, rest - (time.time() - reached))

    @property
    def _metrics(self) -> Path:
        return self.files.run.folder / "metrics.csv"

    def _read_metrics(self) -> int:
        newest = last_metric(self._metrics, self.monitor)
        if newest is not None:
            self.progress.epoch, self.progress.metric = newest
        return self.progress.epoch


def last_metric(path: Path, name: str) -> tuple[int, float] | None:
    """Return the newest value of a metric in a metrics.csv, after the number of epochs that are finished.

    Args:
        path: the file, which a run may be writing
        name: of the metric
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        names = next(csv.reader([file.readline().decode(errors="replace")]), [])
        file.seek(max(file.tell(), path.stat().st_size - TAIL_BYTES))
        rows = file.read().decode(errors="replace").splitlines()
    if name not in names or "epoch" not in names:
        return None
    for row in reversed(list(csv.reader(rows))):
        # the file's last row may be half written, and the first that was read cut; a number may be damaged
        with contextlib.suppress(ValueError):
            if len(row) == len(names) and row[names.index(name)]:
                return int(row[names.index("epoch")]) + 1, float(row[names.index(name)])
    return None


class CellTable:
    """Show how all cells stand.

    Args:
        console: where to
        folder: the experiment's
        cells: all of the plan, the finished ones too
        settings: all that each is configured with, by the cells' names
        slots: cells that run at once
    """

    def __init__(
        self,
        console: Console,
        folder: Path,
        cells: Sequence[Cell],
        settings: Mapping[str, Mapping[str, Any]],
        slots: int,
    ) -> None:
        self.console, self.folder, self.slots = console, folder, slots
        self.watches: dict[str, CellWatch] = {}
        for cell in cells:
            self.add(cell, settings[cell.name])
        # on_demand: the caller looks twice a second, and a thread would look more often
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def add(self, cell: Cell, settings: Mapping[str, Any]) -> None:
        """Show one more cell.

        Args:
            cell: of the plan
            settings: all that it is configured with
        """
        watch = self.watches[cell.name] = CellWatch(cell, self.folder, settings)
        if watch.files.is_done:
            watch.end(Outcome(cell.name, "done", watch.files.read()["seconds"]), again=False)

    def __enter__(self) -> "CellTable":
        if self.live:
            self.live.start()
            self(())
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self(())
            self.live.stop()

    def __call__(self, news: Sequence[tuple[Outcome, bool]]) -> None:
        """Take in how cells ended, look at the others, and show it."""
        for outcome, again in news:
            self.watches[outcome.name].end(outcome, again)
            if self.live is None:
                self.console.print(line(self.watches[outcome.name], outcome, again), soft_wrap=True, highlight=False)
        if self.live:
            for watch in self.watches.values():
                watch.look()
            self.live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """Build the table: what runs or failed first, and as much of the rest as the terminal has room for."""
        table = Table(title=f"{self.folder}/", caption=self.summary(), caption_justify="left", title_justify="left")
        for name in ("cell", "state", "epoch", "metric", "seconds", "left"):
            table.add_column(name, justify="left" if name in ("cell", "state") else "right", no_wrap=True)
        shown, hidden = self._choose(max(4, self.console.height - MARGIN))
        for watch in shown:
            table.add_row(*row(watch))
        if hidden:
            table.add_section()
            counts = count_states(hidden)
            table.add_row(f"and {len(hidden)} more", ", ".join(f"{n} {state}" for state, n in counts.items()))
        return table

    def _choose(self, room: int) -> tuple[list[CellWatch], list[CellWatch]]:
        watches = list(self.watches.values())
        if len(watches) <= room:
            return watches, []
        order = ("running", "retry", "failed", "stopped", "waiting", "done")
        ranked = sorted(watches, key=lambda watch: order.index(watch.progress.state))
        kept = {watch.cell.name for watch in ranked[: room - 2]}
        return [w for w in watches if w.cell.name in kept], [w for w in watches if w.cell.name not in kept]

    def summary(self) -> str:
        """Say how many cells are in which state, and how long the rest takes."""
        watches = list(self.watches.values())
        counts = ", ".join(f"{n} {state}" for state, n in count_states(watches).items())
        left = self.seconds_left()
        return counts if left is None else f"{counts}; about {duration(left)} left"

    def seconds_left(self) -> float | None:
        """Estimate how long all cells take: one that waits as long as others of its member, or else as any."""
        known: dict[str, list[float]] = {}
        for watch in self.watches.values():
            progress = watch.progress
            if progress.state == "done" or progress.left is not None:
                known.setdefault(watch.cell.member, []).append(progress.seconds + (progress.left or 0.0))
        if not known:
            return None
        anyone = mean(seconds for times in known.values() for seconds in times)
        left = [self._left(watch, mean(known.get(watch.cell.member, [anyone]))) for watch in self.watches.values()]
        return max(sum(left) / self.slots, max(left))

    @staticmethod
    def _left(watch: CellWatch, expected: float) -> float:
        progress = watch.progress
        if progress.state in ("done", "failed", "stopped"):
            return 0.0
        return progress.left if progress.left is not None else max(0.0, expected - progress.seconds)


def count_states(watches: Sequence[CellWatch]) -> dict[str, int]:
    """Count cells by their states, in the order in which a cell goes through them."""
    states = [watch.progress.state for watch in watches]
    return {s: states.count(s) for s in ("done", "running", "retry", "waiting", "stopped", "failed") if s in states}


def row(watch: CellWatch) -> list[str]:
    """Return a cell's row of the table."""
    progress = watch.progress
    state = progress.state
    coloured = f"[{COLOURS[state]}]{state}[/]" if state in COLOURS else f"[dim]{state}[/]"
    if state == "waiting":
        return [escape(watch.cell.name), coloured, "", "", "", ""]
    return [
        escape(watch.cell.name),
        coloured,
        f"{progress.epoch}/{watch.epochs}" if watch.epochs else str(progress.epoch),
        "–" if progress.metric is None else f"{watch.monitor} {progress.metric:.4f}",
        f"{progress.seconds:.0f}",
        "" if progress.left is None else duration(progress.left),
    ]


def line(watch: CellWatch, outcome: Outcome, again: bool) -> str:
    """Say in one line how a cell ended."""
    name = escape(outcome.name)
    if outcome.status == "failed":
        return f"[red]{name} failed[/]{', and is started again' if again else ''}"
    if outcome.status == "stopped":
        return f"[yellow]{name} stopped[/]"
    # the best epoch's, which the last one's need not be
    try:
        reached = watch.files.result().get("val", {}).get(watch.monitor.removeprefix("val/"))
    except DamagedFileError as error:
        return f"{name}: [yellow]{escape(str(error))}[/]"
    told = "" if reached is None else f"{watch.monitor} {reached:.4f}, "
    return f"{name}: {told}{outcome.seconds:.0f} s"
