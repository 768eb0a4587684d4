"""The project's CSV files: a spreadsheet must not run a name as a formula, and reading gives the name back."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

# what a spreadsheet takes for a formula at the start of a cell; the wide ones where Japanese is written
_FORMULA = "[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]"
# a cell also starts after a semicolon, a tab or a line break, where a spreadsheet takes those for separators
_START = "(?:^|(?<=[;\t\r\n]))"
_RISKY = re.compile(f"{_START}( *'*)(?={_FORMULA})")
_GUARDED = re.compile(f"{_START}( *'*)'(?={_FORMULA})")
END = "\r\n"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def safe(value: Any) -> Any:
    """Put an apostrophe before what a spreadsheet would take for a formula; numbers stay as they are.

    Args:
        value: of a cell

    Example:
        >>> safe("=1+1"), safe("-0.5"), safe("dog")
        ("'=1+1", '-0.5', 'dog')
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return _RISKY.sub(r"\1'", value)


def plain(text: str) -> str:
    """Return the text that `safe` was given.

    Args:
        text: of a cell

    Example:
        >>> plain("'=1+1"), plain("'quoted'")
        ('=1+1', "'quoted'")
    """
    return _GUARDED.sub(r"\1", text)


def write_rows(file: TextIO, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows that a spreadsheet can open safely.

    Args:
        file: opened with `newline=""`
        rows: texts, numbers, and None for an empty cell
    """
    for row in rows:
        line = io.StringIO(newline="")
        # END quotes names with a carriage return; with another end of line the writer leaves them without quotes
        csv.writer(line, lineterminator=END).writerow([safe(value) for value in row])
        file.write(line.getvalue().removesuffix(END) + "\n")


def write_table(file: TextIO, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a header and rows that a spreadsheet can open safely.

    Args:
        file: opened with `newline=""`
        columns: their names, in order
        rows: by column; what a row does not have stays empty
    """
    write_rows(file, [columns])
    write_rows(file, ([row.get(name) for name in columns] for row in rows))


def read_rows(file: TextIO) -> Iterator[list[str]]:
    """Read what `write_rows` has written, as texts.

    Args:
        file: opened with `newline=""`
    """
    for row in csv.reader(file):
        yield [plain(text) for text in row]
