"""CSV as spreadsheets, data frames and other programs write it: encodings, separators, rows that are empty."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from common.few import few, shortened

T = TypeVar("T")

# a file that begins with one of these marks says its encoding itself
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
DELIMITERS = ",;\t|"
# a first line by which a file tells a spreadsheet its separator
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t|]*(\r\n|\r|\n)', re.IGNORECASE)
# rows taken at once: many more would leave the processor's cache and wake the garbage collector
ROWS = 500
# bytes at the start of a file that are searched for its encoding and its separator
LOOK = 2**16


def find_encoding(path: Path) -> str:
    """Tell a file's encoding by how it begins; UTF-8 if nothing speaks against it."""
    with path.open("rb") as file:
        start = file.read(64)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    # the names of the columns are plain letters: in UTF-16, one of two bytes is zero
    low, high = start[1::2].count(0), start[::2].count(0)
    if max(low, high) > len(start) // 4:
        return "utf-16-le" if low > high else "utf-16-be"
    return "utf-8"


class CsvTable:
    """The rows of a CSV file.

    Args:
        path: of the file
        encoding: such as cp1252; None finds it
        is_header: tells whether a row names the columns that are needed
        delimiters: separators to try, in this order

    Raises:
        ValueError: the file is no text in that encoding
    """

    def __init__(
        self,
        path: Path,
        encoding: str | None,
        is_header: Callable[[Sequence[str]], bool],
        delimiters: str = DELIMITERS,
    ) -> None:
        self.path = path
        self.encoding = encoding or find_encoding(path)
        self.empty = 0
        with self._open() as file:
            start = self._guarded(lambda: file.read(LOOK))
        said = SEPARATOR_LINE.match(start)
        self._lines_before = 1 if said else 0
        start = start[said.end() :] if said else start
        tried = dict.fromkeys([*([said[1]] if said else []), *delimiters])
        headers = {delimiter: _first_row(start, delimiter) for delimiter in tried}
        # without such a row, the one of most columns says what is there
        fitting = [delimiter for delimiter, header in headers.items() if is_header(header)]
        self.delimiter = fitting[0] if fitting else max(headers, key=lambda each: len(headers[each]))
        self.header = headers[self.delimiter]

    def rows(self) -> Iterator[list[list[str]]]:
        """Yield the rows below the header, some at a time, each with as many fields as the header; `empty` counts.

        A row may leave out empty fields at its end, and have empty ones too many, as spreadsheets write them.

        Raises:
            ValueError: the file is damaged, or rows have too many fields
        """
        width, before = len(self.header), 0
        too_long: list[str] = []
        with self._open() as file:
            for _ in range(self._lines_before):
                file.readline()
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            self._guarded(lambda: next((row for row in reader if _holds_text(row)), None), lambda: reader.line_num)
            while rows := self._guarded(lambda: list(itertools.islice(reader, ROWS)), lambda: reader.line_num):
                if {*map(len, rows)} != {width} or not all(map(_holds_text, rows)):
                    full = [row for row in rows if _holds_text(row)]
                    # a line without anything is no row
                    self.empty += sum(bool(row) for row in rows) - len(full)
                    for number, row in enumerate(full, start=before + 1):
                        if _holds_text(row[width:]):
                            text = shortened(self.delimiter.join(row))
                            too_long.append(f"row {number}: {len(row)} fields, but {width} columns: {text}")
                    rows = [(row + [""] * width)[:width] for row in full]
                before += len(rows)
                yield rows
        if too_long:
            raise ValueError(
                f"{self.path}, {few(too_long, shown=3)}: put a name that holds {self.delimiter!r} in double quotes"
            )

    def _open(self) -> io.TextIOWrapper:
        try:
            # a mark is no part of the first name
            name = "utf-8-sig" if codecs.lookup(self.encoding).name == "utf-8" else self.encoding
            return self.path.open(newline="", encoding=name)
        except LookupError as error:
            raise ValueError(
                f"--data.encoding {self.encoding!r} is no encoding of text, as utf-8 or cp1252 is"
            ) from error

    def _guarded(self, read: Callable[[], T], line: Callable[[], int] = lambda: 0) -> T:
        """Read, and say where and why it cannot be done."""
        try:
            return read()
        except UnicodeError as error:
            raise ValueError(self._undecodable()) from error
        except csv.Error as error:
            where = f"{self.path}, line {line() + self._lines_before}"
            raise ValueError(f"{where}: cannot be read as columns ({error}): mend its quotes") from error

    def _undecodable(self) -> str:
        content = self.path.read_bytes()
        way_out = "save it as CSV UTF-8, or name its encoding, such as --data.encoding cp1252"
        try:
            content.decode(self.encoding)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            if self.encoding.startswith("utf-8"):
                text = content.splitlines()[line - 1].decode("cp1252", "replace")
                way_out += f" (which reads the line as {shortened(text, 60)!r})"
            return f"{self.path}, line {line}: cannot be read as {_called(self.encoding)} text: {way_out}"
        except UnicodeError:
            pass
        return f"{self.path}: cannot be read as {_called(self.encoding)} text: {way_out}"


def _called(encoding: str) -> str:
    return encoding.removesuffix("-sig").upper()


def _first_row(start: str, delimiter: str) -> list[str]:
    try:
        rows = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
        return next((row for row in rows if _holds_text(row)), [])
    except csv.Error:
        return []


def _holds_text(row: Sequence[str]) -> bool:
    return not "".join(row).isspace() and any(row)
