"""metrics.csv: rows that are appended, and whole whatever stops the run."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from records.damaged import damaged
from records.whole_file import write_whole

WAY_OUT = "copy it again, or rename it, and the run continues without the rows before"


class MetricsFile:
    """Rows of metrics by step, after those that are in the file already.

    New rows are appended; where the columns change, or rows are left out, the file is written anew beside its place and
    renamed.

    Args:
        path: of the file; it is made with the first row

    Raises:
        DamagedFileError: the file that is there is no table of metrics
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # not yet in the file
        self.metrics: list[dict[str, Any]] = []
        self.columns, _ = read_table(path, WAY_OUT) if path.is_file() else ([], [])

    def log_metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Note a row.

        Args:
            metrics: values by name
            step: of the run
        """
        row = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        self.metrics.append(row | {"step": step})

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Leave options out: config.yaml has them."""

    def save(self) -> None:
        """Write the rows that wait.

        Raises:
            OSError: the disk is full; the file is as it was before
        """
        if not self.metrics:
            return
        columns = sorted({*self.columns, *set().union(*self.metrics)})
        if columns == self.columns:
            self._append()
        else:
            # new columns, in which earlier rows have no value, or the first rows of all
            self._write_whole([*self._rows(), *self.metrics], columns)
        self.columns, self.metrics = columns, []

    def _append(self) -> None:
        size = self.path.stat().st_size
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(table(self.metrics, self.columns, header=False))
        except OSError:
            os.truncate(self.path, size)
            raise

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        columns, rows = read_table(self.path, WAY_OUT)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def cut(self, step: int) -> None:
        """Leave out what an earlier process logged after the state that a run resumes from: it is logged again.

        Args:
            step: the first that is not in that state
        """
        if not self.columns:
            return
        rows = [row for row in self._rows() if row["step"].isdecimal() and int(row["step"]) < step]
        if table(rows, self.columns, header=True).encode() != self.path.read_bytes():
            self._write_whole(rows, self.columns)

    def _write_whole(self, rows: Iterable[Mapping[str, Any]], columns: list[str]) -> None:
        with write_whole(self.path) as partial:
            partial.write_text(table(rows, columns, header=True), encoding="utf-8", newline="")


def read_table(path: Path, way_out: str) -> tuple[list[str], list[list[str]]]:
    """Read a metrics.csv, but for half of a line that a killed process has left at its end.

    Args:
        path: the file
        way_out: what to do where it is damaged

    Returns:
        the names of its columns, and its rows

    Raises:
        DamagedFileError: it is no table of metrics
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns, *rows = list(csv.reader(line for line in file if line.endswith("\n"))) or [[]]
        check_rows(columns, rows)
    except (ValueError, csv.Error) as error:
        raise damaged(path, str(error), way_out) from error
    return columns, rows


def check_rows(columns: list[str], rows: Iterable[list[str]]) -> None:
    """Refuse what `MetricsFile` has not written.

    Args:
        columns: the first line
        rows: those below it

    Raises:
        ValueError: a row has other columns, or something else than numbers
    """
    if columns and (len(set(columns)) < len(columns) or "step" not in columns):
        raise ValueError("its first line does not name its columns, one of which is 'step'")
    for number, row in enumerate(rows, 2):
        if len(row) != len(columns):
            raise ValueError(f"line {number} has {len(row)} values for {len(columns)} columns")
        for name, text in zip(columns, row, strict=True):
            if not (text.isdecimal() if name == "step" else not text or is_number(text)):
                raise ValueError(f"line {number}: {text!r} is no number")


def is_number(text: str) -> bool:
    """Tell whether a text is a number.

    Example:
        >>> is_number("1e-3"), is_number("nan"), is_number("0,5")
        (True, True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def table(rows: Iterable[Mapping[str, Any]], columns: list[str], header: bool) -> str:
    """Write rows as CSV; a column that a row does not have stays empty."""
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()
