"""The columns of a manifest as text, from CSV and parquet."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from common.few import count_of, few
from common.warned import warn
from datamodules.files.csv_tables import DELIMITERS, CsvTable
from datamodules.names import shown, without_margin
from records.csv_files import plain

REQUIRED = ("path", "label")
OPTIONAL = ("split", "source", "group")
# a column of probabilities of a class, as the tables of predictions have them
PROBABILITY = re.compile(r"[pP]\((.+)\)")
# what a column may have been meant for
NEARLY = {name + "s": name for name in OPTIONAL}
Table = dict[str, list[str]]
# gives the place of each column that is read
FindColumns = Callable[[Sequence[str], Path], dict[str, int]]


def read_table(path: Path, encoding: str | None = None, beside: Collection[str] = ()) -> Table:
    """Read the columns of a manifest as text; but for paths, without spaces and invisible characters around it.

    Args:
        path: a file with the suffix .csv, .tsv or .parquet
        encoding: of a CSV file; None finds it
        beside: columns that are read elsewhere

    Raises:
        ValueError: a column is missing, a row has too many fields, or there is no row
    """
    return _read(path, encoding, lambda row: not _lacking(row), partial(find_columns, beside=beside))


def read_columns(path: Path, encoding: str | None, needed: Sequence[str]) -> Table:
    """Read all columns of a table as text, by the names that they have in the file.

    Args:
        path: a file with the suffix .csv, .tsv or .parquet
        encoding: of a CSV file; None finds it
        needed: columns that tell the header of a CSV file, where it has them

    Raises:
        ValueError: a name comes twice, a row has too many fields, or there is no row
    """

    def every(header: Sequence[str], path: Path) -> dict[str, int]:
        names = [without_margin(name) for name in header]
        if repeated := [name for name, count in Counter(names).items() if count > 1 and name]:
            raise ValueError(f"{path} has column {few(map(shown, repeated))} more than once: rename or remove one")
        return {name: place for place, name in enumerate(names) if name}

    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    return _read(path, encoding, lambda row: {*needed} <= {*map(without_margin, row)}, every)


def _read(path: Path, encoding: str | None, is_header: Callable[[Sequence[str]], bool], find: FindColumns) -> Table:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        table = _read_parquet(path, find)
    elif suffix in (".csv", ".tsv"):
        table = _read_csv(path, encoding, "\t,;|" if suffix == ".tsv" else DELIMITERS, is_header, find)
    else:
        raise ValueError(f"{path} must end in .csv, .tsv or .parquet")
    if not table or not next(iter(table.values())):
        raise ValueError(f"{path} has no row")
    return table


def _read_csv(
    path: Path,
    encoding: str | None,
    delimiters: str,
    is_header: Callable[[Sequence[str]], bool],
    find: FindColumns,
) -> Table:
    csv = CsvTable(path, encoding, is_header, delimiters)
    places = find(csv.header, path)
    table: Table = {name: [] for name in places}
    # an apostrophe keeps spreadsheets from running a name, as in the tables that this project writes
    tidy = {name: Tidy(name, plain) for name in places if name != "path"}
    for rows in csv.rows():
        for name, place in places.items():
            values = [row[place] for row in rows]
            table[name] += tidy[name](values) if name in tidy else values
    if csv.empty:
        rank_zero_info(f"{path}: {count_of(csv.empty, 'empty row')} left out")
    _tell_spellings(path, tidy)
    return table


def _read_parquet(path: Path, find: FindColumns) -> Table:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f"{path} needs pyarrow: pip install -e '.[parquet]'") from error
    # pyarrow's own word for an OSError without a file
    damaged = (pa.ArrowException, OSError)
    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        header = file.schema_arrow.names
    except damaged as error:
        raise ValueError(f"{path} cannot be read as parquet ({error})") from error
    table: Table = {}
    for name, place in find(header, path).items():
        kind = file.schema_arrow.types[place]
        if pa.types.is_nested(kind):
            raise ValueError(f"{path}: column {header[place]!r} holds {kind} in a row, not one text or number")
        try:
            column = file.read(columns=[header[place]]).column(0).to_pylist()
            table[name] = [_as_text(value) for value in column]
        except (*damaged, ValueError) as error:
            raise ValueError(f"{path}: column {header[place]!r} cannot be read as parquet ({error})") from error
    tidy = {name: Tidy(name) for name in table if name != "path"}
    table |= {name: tidied(table[name]) for name, tidied in tidy.items()}
    _tell_spellings(path, tidy)
    return table


def _as_text(value: Any) -> str:
    """Write a value as a CSV would hold it: an empty cell is an empty text."""
    if value is None:
        return ""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


class Tidy:
    """Take spaces and invisible characters from around the values of one column.

    Args:
        column: its name
        read: what gives the text of a cell
    """

    def __init__(self, column: str, read: Callable[[str], str] = str) -> None:
        self.column = column
        self.read = read
        # a million rows hold few different labels: each of those is kept once
        self._known: dict[str, str] = {}
        self._other: Counter[str] = Counter()

    def __call__(self, values: Sequence[str]) -> list[str]:
        """Return some values without it."""
        known, changed = self._known, False
        for value in values:
            if value not in known:
                known[value] = without_margin(self.read(value))
            changed = changed or known[value] != value
        if changed:
            self._other.update(value for value in values if known[value] != value)
        return [known[value] for value in values]

    def spellings(self) -> list[str]:
        """Say which values come in several spellings, which are one now."""
        forms = Counter(self._known.values())
        return [
            f"{shown(raw)} ({count_of(count, 'row')}) for {shown(self._known[raw])}"
            for raw, count in self._other.items()
            if forms[self._known[raw]] > 1 and self._known[raw]
        ]


def _tell_spellings(path: Path, columns: dict[str, Tidy]) -> None:
    for name, tidy in columns.items():
        if spellings := tidy.spellings():
            warn(f"{path}: spellings in column {name!r} are taken for one name: {few(spellings)}")


def find_columns(header: Sequence[str], path: Path, beside: Collection[str] = ()) -> dict[str, int]:
    """Return the place of each column that a manifest has; upper case and spaces around a name do not matter.

    Args:
        header: the names of all columns
        path: for messages
        beside: columns that are read elsewhere

    Raises:
        ValueError: one that is needed is missing, or one comes twice
    """
    names = [_column_name(name) for name in header]
    if lacking := _lacking(header):
        raise ValueError(
            f"{path} has no column {lacking[0]!r}; it has {few(header, shown=20) or 'none'}: name the columns path and "
            f"label (or p(CLASS) for the probability of each class), and split, source and group where there are any"
        )
    known = (*REQUIRED, *OPTIONAL, *sorted(filter(PROBABILITY.fullmatch, names)))
    if repeated := [name for name in dict.fromkeys(known) if names.count(name) > 1]:
        raise ValueError(f"{path} has column {few(map(repr, repeated))} more than once")
    others = [name for name in header if _column_name(name) not in ("", *known) and name not in beside]
    if others:
        rank_zero_info(f"{path}: columns left out: {few(others, shown=20)}")
    for other in others:
        meant = NEARLY.get(_column_name(other))
        if meant and meant not in names:
            warn(f"{path}: column {other!r} is left out: call it {meant!r} if it holds that")
    return {name: names.index(name) for name in known if name in names}


def _lacking(header: Sequence[str]) -> list[str]:
    """Return the columns that are needed and not there; probabilities of the classes stand for the label."""
    names = [_column_name(name) for name in header]
    stood_for = {"label"} if any(map(PROBABILITY.fullmatch, names)) else set()
    return [name for name in REQUIRED if name not in names and name not in stood_for]


def _column_name(name: str) -> str:
    plain = without_margin(name)
    if found := PROBABILITY.fullmatch(plain):
        # the name of a class is written as it is
        return f"p({without_margin(found[1])})"
    return plain.casefold()
