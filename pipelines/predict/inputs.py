"""The images that a command line names, one after the other: a million of them are never listed at once."""

import glob
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from datamodules.files.csv_tables import CsvTable
from datamodules.files.found_files import walk_images

# a table whose column `path` names images
TABLES = (".csv", ".tsv", ".parquet")
STDIN = "-"
COLUMN = "path"


def check_places(places: Sequence[str]) -> None:
    """Refuse what names no images, all at once.

    Args:
        places: files, folders, patterns, tables, or - for a list on standard input

    Raises:
        FileNotFoundError: some do not exist
    """
    missing = [place for place in places if place != STDIN and not Path(place).exists() and not _matches(place)]
    if missing:
        raise FileNotFoundError(
            f"--images {', '.join(missing)}: no such file or folder, and no file matches it as a pattern"
        )


def find_images(places: Sequence[str], left_out: Counter[str]) -> Iterator[str]:
    """Yield the paths of images, in the order in which they are named.

    Args:
        places: files, folders (searched at any depth), patterns such as `photos/*.jpg`, tables with a column `path`, or
            - for a path a line on standard input
        left_out: is added to: how often what was left out
    """
    for place in places:
        path = Path(place)
        if place == STDIN:
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        elif path.is_dir():
            yield from map(str, walk_images(path, left_out))
        elif path.suffix.lower() in TABLES and path.is_file():
            yield from _listed(path)
        elif path.exists():
            yield place
        else:
            yield from sorted(glob.glob(place, recursive=True))  # noqa: PTH207 (a Path of each would be built)


def _listed(path: Path) -> Iterator[str]:
    """Yield the paths of a table, which are relative to its folder."""
    if path.suffix.lower() == ".parquet":
        if find_spec("pyarrow") is None:
            raise ValueError(f"--images {path} needs the extra parquet: pip install 'francesinha[parquet]'")
        import pyarrow.parquet

        table = pyarrow.parquet.ParquetFile(path)
        if COLUMN not in table.schema_arrow.names:
            raise ValueError(f"--images {path} has no column {COLUMN}")
        for batch in table.iter_batches(columns=[COLUMN]):
            yield from (str(path.parent / name) for name in batch.column(0).to_pylist() if name)
        return
    rows = CsvTable(path, None, lambda row: COLUMN in map(_column, row), "\t,;|" if path.suffix == ".tsv" else ",;\t|")
    columns = [_column(name) for name in rows.header]
    if COLUMN not in columns:
        raise ValueError(f"--images {path} has no column {COLUMN}")
    place = columns.index(COLUMN)
    for chunk in rows.rows():
        yield from (str(path.parent / row[place]) for row in chunk if row[place])


def _column(name: str) -> str:
    return name.strip().casefold()


def _matches(place: str) -> bool:
    return next(glob.iglob(place, recursive=True), None) is not None  # noqa: PTH207
