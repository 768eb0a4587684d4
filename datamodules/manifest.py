"""Images listed in a table, with their labels, splits, sources and groups."""

import csv
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.image_files import TEST, TRAIN, VAL, ImageFiles, Listing
from datamodules.provenance import sample_ids, text_hashes

REQUIRED = ("path", "label")
OPTIONAL = ("split", "source", "group")
SPLIT_NAMES = {"": TRAIN, "train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
Table = dict[str, list[str]]
# rows of a CSV taken at once: many more would leave the processor's cache and wake the garbage collector
ROWS = 500


@dataclass(eq=False, kw_only=True, repr=False)
class Manifest(ImageFiles):
    """Images listed in a CSV or parquet file with the columns path and label, and perhaps split, source and group.

    split is train, val or test; without it, val and test are drawn. source is where an image comes from: results are
    reported for each. Images of one group (a patient, a scene) are never divided between splits that are drawn. Other
    columns are left out.

    Args:
        path: the file, with the suffix .csv, .tsv or .parquet
        root: folder that the paths in it are relative to; null takes the file's own
        class_names: the name of each class, in label order; null sorts those found
    """

    path: str = "manifest.csv"
    root: str | None = None
    class_names: list[str] | None = None

    def list_files(self) -> Listing:
        """Read and check the table."""
        path = Path(self.path)
        if not path.is_file():
            raise FileNotFoundError(f"--data.path {self.path!r} is not a file")
        root = Path(self.root) if self.root is not None else path.parent
        if not root.is_dir():
            raise FileNotFoundError(f"--data.root {self.root!r} is not a folder")
        table = read_table(path)
        names = check_paths(table["path"], root, path)
        ids = unique_ids(names, path)
        if "" in table["label"]:
            raise ValueError(f"{path}, row {table['label'].index('') + 1}: the label is empty")
        class_names = self.class_names or sort_names(table["label"])
        splits = _numbers(table["split"], SPLIT_NAMES, path, "split") if "split" in table else np.zeros(len(names), int)
        labels = _numbers(table["label"], {name: number for number, name in enumerate(class_names)}, path, "label")
        _check_classes(labels, splits, class_names, path)
        sources: Tensor | None = None
        source_names: list[str] = []
        if "source" in table:
            source_names = sort_names(table["source"])
            index = {name: number for number, name in enumerate(source_names)}
            sources = torch.from_numpy(_numbers(table["source"], index, path, "source"))
        groups = group_ids(table["group"]) if "group" in table else None
        return Listing(root, names, labels, class_names, splits, sources, tuple(source_names), groups, ids)


def read_table(path: Path) -> Table:
    """Read the columns of a manifest as text.

    Args:
        path: a file with the suffix .csv, .tsv or .parquet

    Raises:
        ValueError: a column is missing, a row has another number of fields, or there is no row
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        table = _read_parquet(path)
    elif suffix in (".csv", ".tsv"):
        table = _read_csv(path, "\t" if suffix == ".tsv" else ",")
    else:
        raise ValueError(f"{path} must end in .csv, .tsv or .parquet")
    if not table["path"]:
        raise ValueError(f"{path} has no row")
    return table


def _read_csv(path: Path, delimiter: str) -> Table:
    try:
        # a byte-order mark, as spreadsheets write it, is no part of the first name
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            places = _columns(header, path)
            table: Table = {name: [] for name in places}
            # a million rows hold few different labels: each of those is kept once
            known: dict[str, str] = {}
            while rows := list(itertools.islice(reader, ROWS)):
                if {*map(len, rows)} != {len(header)}:
                    rows = _whole_rows(rows, header, len(table["path"]), path)
                for name, place in places.items():
                    values = [row[place] for row in rows]
                    table[name] += values if name == "path" else _stripped(values, known)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text in columns ({error})") from error
    return table


def _stripped(values: Sequence[str], known: dict[str, str]) -> list[str]:
    """Return the values without spaces around them, each text kept once."""
    for value in values:
        if value not in known:
            known[value] = value.strip()
    return [known[value] for value in values]


def _whole_rows(rows: list[list[str]], header: Sequence[str], before: int, path: Path) -> list[list[str]]:
    """Leave out empty lines; refuse a row with another number of fields."""
    whole = [row for row in rows if row]
    for number, row in enumerate(whole, start=before + 1):
        if len(row) != len(header):
            raise ValueError(f"{path}, row {number}: {len(row)} fields, but {len(header)} columns: {','.join(row)}")
    return whole


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f"{path} needs pyarrow: pip install -e '.[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
        names = list(_columns(file.schema_arrow.names, path))
        table = file.read(columns=names)
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read as parquet ({error})") from error
    # an empty cell is an empty text, as in a CSV
    return {name: ["" if v is None else str(v) for v in table[name].to_pylist()] for name in names}


def _columns(header: Sequence[str], path: Path) -> dict[str, int]:
    for name in REQUIRED:
        if name not in header:
            raise ValueError(f"{path} has no column {name!r}; it has {', '.join(header) or 'none'}")
    for name in (*REQUIRED, *OPTIONAL):
        if list(header).count(name) > 1:
            raise ValueError(f"{path} has column {name!r} more than once")
    return {name: header.index(name) for name in (*REQUIRED, *OPTIONAL) if name in header}


def check_paths(paths: Sequence[str], root: Path, manifest: Path) -> list[str]:
    """Return the paths relative to the root, in their shortest form.

    Raises:
        ValueError: a path is empty, or leads out of the root
    """
    # the root as it is called and as it is, where a link leads to it
    bases = [str(root.absolute()), str(root.resolve())]
    names = []
    for number, path in enumerate(paths, start=1):
        name = path
        # few paths need a closer look, and a million are to be looked at
        if not path or path[0] == "/" or path[-1] in "/." or "./" in path or "//" in path:
            name = os.path.normpath(path) if path else ".."
            if name.startswith("/"):
                inside = [base for base in bases if name.startswith(f"{base}/")]
                name = os.path.relpath(name, inside[0]) if inside else ".."
            if name == ".." or name.startswith("../"):
                raise ValueError(
                    f"{manifest}, row {number}: path {path!r} is not inside {str(root)!r}: move the file, or "
                    f"set --data.root"
                )
        names.append(name)
    return names


def unique_ids(names: Sequence[str], manifest: Path) -> Tensor:
    """Return the id of each path.

    Raises:
        ValueError: a path comes twice
    """
    try:
        return sample_ids(names)
    except ValueError:
        seen: set[str] = set()
        for number, name in enumerate(names, start=1):
            if name in seen:
                raise ValueError(f"{manifest}, row {number}: path {name!r} comes more than once") from None
            seen.add(name)
        raise


def sort_names(values: Sequence[str]) -> list[str]:
    """Return the different values in order: as numbers if all are whole numbers, else as text.

    Example:
        >>> sort_names(["10", "9", "10"]), sort_names(["b", "a"])
        (['9', '10'], ['a', 'b'])
    """
    names = set(values)
    return sorted(names, key=int) if all(n.isdecimal() for n in names) else sorted(names)


def group_ids(groups: Sequence[str]) -> Tensor:
    """Turn group names into numbers that are the same everywhere.

    Args:
        groups: one name a sample, or an empty text

    Returns:
        int64, -1 for a sample without a group, shape `(sample,)`
    """
    different = sorted(set(groups) - {""})
    number = dict(zip(different, text_hashes(different).tolist(), strict=True)) | {"": -1}
    return torch.from_numpy(np.fromiter((number[group] for group in groups), np.int64, len(groups)))


def _numbers(values: Sequence[str], index: dict[str, int], path: Path, column: str) -> np.ndarray:
    try:
        return np.fromiter((index[value] for value in values), np.int64, len(values))
    except KeyError as error:
        row = list(values).index(error.args[0]) + 1
        known = ", ".join(name for name in index if name)
        raise ValueError(f"{path}, row {row}: unknown {column} {error.args[0]!r} (known: {known})") from error


def _check_classes(labels: np.ndarray, splits: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    if len(class_names) < 2:
        raise ValueError(f"{path} must list images of at least 2 classes; it has {len(class_names)}")
    trained = np.bincount(labels[splits == TRAIN], minlength=len(class_names))
    if not trained.all():
        raise ValueError(f"{path}: class {class_names[int(np.argmin(trained))]!r} has no image in the training split")
