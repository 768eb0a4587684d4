"""Records of what was measured: one JSON file each in docs/records, with command, machine, commit and date."""

import json
import re
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.claims.measured import Held, numbers

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RECORDS = REPOSITORY / "docs" / "records"


class RecordError(Exception):
    """A record or a page is not as it should be; the message names it and says what is wrong."""


def in_markdown(columns: list[str], rows: list[list]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in map(str, line)) + "|" for line in lines)


@dataclass(frozen=True)
class Record:
    """One claim, and what was measured of it.

    Args:
        claim: one line for the table of all claims; `{KEY}` stands for a figure
        command: what was run
        machine: cores, memory and versions that matter
        commit: of the code that was run, as git abbreviates it
        date: of the run, as YYYY-MM-DD
        figures: numbers, or texts with the digits that are to be printed, by short names
        table: `columns` and `rows`, as they are printed
        not_run: why it was not run, such as "as no GPU was at hand"; then it has no machine, commit, date and figures
        cheap: whether `make results` runs the command again
        taken: figure by figure, where a run of the command finds it in the JSON object of its last line, such as
            `shares.fit`; without it the object's numbers and texts are the figures
        note: what else a reader must know to believe it
        name: the file's name
    """

    claim: str
    command: str
    machine: str = ""
    commit: str = ""
    date: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    table: dict[str, list] = field(default_factory=dict)
    not_run: str = ""
    cheap: bool = False
    taken: dict[str, str] = field(default_factory=dict)
    note: str = ""
    name: str = ""

    def figure(self, key: str) -> str:
        """A figure as it is printed."""
        if key not in self.figures:
            known = ", ".join(self.figures) or "none"
            raise RecordError(f"{self.name}.json has no figure '{key}' (it has: {known})")
        value = self.figures[key]
        return f"{value:,}" if isinstance(value, int | float) else value

    def shown_table(self) -> str:
        """The table in Markdown."""
        if not self.table:
            raise RecordError(f"{self.name}.json has no table")
        return in_markdown(self.table["columns"], self.table["rows"])

    def headline(self) -> str:
        """The claim with its figures."""
        return re.sub(r"\{(\w+)\}", lambda match: self.figure(match.group(1)), self.claim)

    def held(self) -> Held:
        """The numbers of the figures, and of each row of the table."""
        rows = tuple(numbers("\n".join(map(str, row))) for row in self.table.get("rows", []))
        return Held(frozenset(numbers("\n".join(map(self.figure, self.figures)))), rows)


def made(name: str, content: Any) -> Record:
    """Make a record of what its file holds, which may not be whole yet.

    Args:
        name: of the record
        content: the file's JSON

    Returns:
        the record

    Raises:
        RecordError: a field is unknown
    """
    known = {item.name for item in fields(Record)} - {"name"}
    if not isinstance(content, dict) or set(content) - known:
        wrong = ", ".join(sorted(set(content) - known)) if isinstance(content, dict) else "no mapping"
        raise RecordError(f"{name}.json: unknown fields: {wrong} (known: {', '.join(sorted(known))})")
    return Record(**{"claim": "", "command": "", **content}, name=name)


def checked(name: str, content: Any) -> Record:
    """Make a record and see that it is whole.

    Args:
        name: of the record
        content: the file's JSON

    Returns:
        the record

    Raises:
        RecordError: a field is missing, unknown or not as it should be
    """
    record = made(name, content)
    measured = bool(record.figures or record.table)
    if measured == bool(record.not_run):
        raise RecordError(f"{name}.json needs figures or a table, or else `not_run` with the reason")
    needed = ("claim", "command") if record.not_run else ("claim", "command", "machine", "commit", "date")
    missing = [item for item in needed if not getattr(record, item)]
    if missing:
        raise RecordError(f"{name}.json lacks {', '.join(missing)}")
    width = len(record.table.get("columns", []))
    if any(len(row) != width for row in record.table.get("rows", [])):
        raise RecordError(f"{name}.json: each row of its table needs {width} cells")
    if not all(isinstance(value, int | float | str) for value in record.figures.values()):
        raise RecordError(f"{name}.json: a figure is a number or a text")
    try:
        date.fromisoformat(record.date or "2000-01-01")
    except ValueError as error:
        raise RecordError(f"{name}.json: the date {record.date} is not YYYY-MM-DD") from error
    record.headline()
    return record


def load_records(folder: Path = RECORDS) -> dict[str, Record]:
    """Read all records.

    Args:
        folder: of the JSON files

    Returns:
        the records by name, in the order of names

    Raises:
        RecordError: a file is no JSON, or no record
    """
    records = {}
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text("utf-8"))
        except json.JSONDecodeError as error:
            raise RecordError(f"{file.name} is no JSON: {error}") from error
        records[file.stem] = checked(file.stem, content)
    return records
