"""Images listed in a table, with their labels, splits, sources and groups."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from common.few import count_of, few
from common.options import configurable, option
from common.warned import warn
from datamodules.files.cell_values import fractions, is_missing, whole_numbers
from datamodules.files.image_files import TEST, TRAIN, VAL, ImageFiles, Listing
from datamodules.files.manifest_paths import PathCheck, unique_ids
from datamodules.files.soft_labels import find_targets, in_order_of
from datamodules.files.table_features import FeatureOptions, check_columns, read_features
from datamodules.files.tables import read_columns, read_table
from datamodules.names import classes_have, find_alike, likeness, shown, tell_alike, unknown_names, without_margin
from datamodules.provenance import text_hashes
from datamodules.table_info import Missing, ReadColumn

SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}
# columns that are what is to be predicted
LABELS = ("label", "path")
# what images without a source are reported under
NO_SOURCE = "unknown"


@configurable
class Manifest(ImageFiles):
    """Images listed in a CSV or parquet file with the columns path and label, and perhaps split, source and group.

    Columns p(CLASS) hold the probability of each class in place of a label: losses take them, and metrics the most
    probable class. Columns that `features` names are read by models of tables, of the same images.
    split is train, val or test; without it, val and test are drawn. source is where an image comes from: results are
    reported for each. Images of one group (a patient, a scene) are never divided between splits that are drawn. Other
    columns are left out.

    Args:
        path: the file, with the suffix .csv, .tsv or .parquet
        root: folder that the paths in it are relative to; null takes the file's own
        class_names: the name of each class, in label order; null sorts those found
        encoding: of a CSV file that is not UTF-8 or UTF-16, such as cp1252; null finds which of those it is
        outside_links: what becomes of links that lead to files outside the root: error, or follow
        features: columns that models of tables read, as TableClassifier does; null reads none
        categorical: those of them whose numbers are names, such as a postal code
        numeric: those that must hold numbers
        missing: what becomes of missing values in them: error, or the mean or median of the training split
    """

    path: str = "manifest.csv"
    root: str | None = None
    class_names: list[str] | None = option(None, "reading")
    encoding: str | None = option(None, "reading")
    outside_links: Literal["error", "follow"] = option("error", "reading")
    features: list[str] | None = option(None, "reading")
    categorical: tuple[str, ...] = option((), "reading")
    numeric: tuple[str, ...] = option((), "reading")
    missing: Missing = option("error", "reading")

    def list_files(self) -> Listing:
        """Read and check the table, once."""
        return self._listing

    def training_notes(self) -> list[str]:
        """Say how many images have no group: splits cannot keep those together."""
        groups = self._listing.groups
        missing = 0 if groups is None else int((groups == -1).sum())
        if groups is None or not missing:
            return []
        have = "has" if missing == 1 else "have"
        return [f"{self.path}: {missing} of {len(groups)} rows {have} no group: each is a group of its own"]

    @cached_property
    def _listing(self) -> Listing:
        path = Path(self.path)
        if not path.is_file():
            raise FileNotFoundError(f"--data.path {self.path!r} is not a file")
        root = Path(self.root) if self.root is not None else path.parent
        if not root.is_dir():
            raise FileNotFoundError(f"--data.root {self.root!r} is not a folder")
        table = read_table(path, self.encoding, self.features or ())
        check = PathCheck(root, self.outside_links == "follow", self.on_unreadable == "error")
        names = check.names(table["path"])
        splits, split_faults = find_splits(table.get("split"), names, path)
        targets, likeliest, target_faults = find_targets(table, names)
        labels, class_names, label_faults = find_classes(likeliest, self.class_names, names)
        label_faults += target_faults
        if faults := [*check.messages(), *label_faults, *split_faults]:
            raise ValueError(f"{path}, {'; '.join(faults)}")
        ids = unique_ids(names, likeliest, path)
        way_out = "write each in one way, or set --data.alike_names allow if they are different ones"
        counts = dict(zip(class_names, np.bincount(labels, minlength=len(class_names)).tolist(), strict=True))
        # who lists two classes has decided
        tell_alike(str(path), "classes", counts, way_out, "allow" if self.class_names else self.alike_names)
        _check_classes(labels, splits, class_names, path)
        sources, source_names = find_sources(table.get("source"), path)
        if sources is not None:
            found = {name: int((sources == number).sum()) for number, name in enumerate(source_names)}
            tell_alike(str(path), "sources", found, way_out, self.alike_names)
        groups, forms, group_names = find_groups(table.get("group"), path)
        features, columns = self._features(path, len(names))
        origins = (sources, source_names, groups, ids)
        return Listing(
            root,
            names,
            labels,
            class_names,
            splits,
            *origins,
            group_forms=forms,
            group_names=group_names,
            targets=in_order_of(targets, class_names, path),
            features=features,
            columns=columns,
        )

    def _features(self, path: Path, rows: int) -> tuple[Tensor | None, tuple[ReadColumn, ...]]:
        """Read the columns of features, if there are any."""
        if self.features is None:
            return None, ()
        if wrong := [name for name in self.features if name in LABELS]:
            raise ValueError(f"--data.features names {few(map(shown, wrong))}: a model would only copy the label")
        table = read_columns(path, self.encoding, ("path",))
        for which in ("features", "categorical", "numeric"):
            check_columns(getattr(self, which) or (), list(table), path, which)
        options = FeatureOptions(self.features, self.categorical, self.numeric, self.missing)
        features, columns = read_features(table, self.features, options, path)
        assert len(features) == rows
        return features, tuple(columns)


def find_classes(
    values: Sequence[str], class_names: Sequence[str] | None, names: Sequence[str]
) -> tuple[np.ndarray, list[str], list[str]]:
    """Turn the labels of a manifest into numbers.

    Whole numbers that a data frame wrote as floats (0.0, 1.0) are those numbers. A text that stands for a missing
    value is a class if it is listed.

    Args:
        values: the column, one text a row
        class_names: the names of the classes, in label order; None sorts those found
        names: the paths, for messages

    Returns:
        the label of each row, -1 where there is none; the names of the classes; and what is wrong
    """
    listed = [without_margin(str(name)) for name in class_names or ()]
    if repeated := [name for name, count in Counter(listed).items() if count > 1]:
        raise ValueError(f"--data.class_names lists {few(map(shown, repeated))} more than once")
    different = set(values)
    missing = {value for value in different if is_missing(value) and value not in listed}
    found = different - missing
    whole = {} if found <= set(listed) else whole_numbers(found)
    classes = listed or sort_names([whole.get(value, value) for value in found])
    index = {name: number for number, name in enumerate(classes)}
    number = {value: index.get(whole.get(value, value), -1) for value in found} | dict.fromkeys(missing, -1)
    labels = np.fromiter((number[value] for value in values), np.int64, len(values))
    faults = []
    if missing:
        rows = [row for row, value in enumerate(values) if value in missing]
        listing = f"; list {shown(text)} in --data.class_names if it is a class" if (text := max(missing)) else ""
        faults.append(
            f"{_rows(rows, values, names, 'the label is missing', 'labels are missing')}: give them one, or leave the "
            f"rows out{listing}"
        )
    if not listed and (odd := set(fractions(found))):
        rows = [row for row, value in enumerate(values) if value in odd]
        faults.append(
            f"{_rows(rows, values, names, 'the label is not a whole number', 'labels are not whole numbers')}, as the "
            f"others are: give classes, or list all of them in --data.class_names"
        )
    if unknown := {value for value in found if number[value] == -1}:
        rows = [row for row, value in enumerate(values) if value in unknown]
        faults.append(_unknown("label", rows, values, classes))
    return labels, classes, faults


def find_splits(values: Sequence[str] | None, names: Sequence[str], path: Path) -> tuple[np.ndarray, list[str]]:
    """Turn the splits of a manifest into numbers; rows without one are for training.

    Args:
        values: the column, one text a row; None if there is none
        names: the paths, for messages
        path: of the manifest

    Returns:
        TRAIN, VAL or TEST for each row, or -1; and what is wrong
    """
    if values is None:
        return np.full(len(names), TRAIN, dtype=np.int64), []
    number = {value: SPLIT_NAMES.get(value.casefold(), TRAIN if is_missing(value) else -1) for value in set(values)}
    splits = np.fromiter((number[value] for value in values), np.int64, len(values))
    blank = _missing(values)
    missing = [row for row, value in enumerate(values) if value in blank]
    if 0 < len(missing) < len(values):
        told = _rows(missing, values, names, "there is no split", "have no split")
        warn(f"{path}, {told}: taken for training")
    unknown = np.flatnonzero(splits == -1).tolist()
    return splits, [_unknown("split", unknown, values, ["train", "val", "test"])] if unknown else []


def find_sources(values: Sequence[str] | None, path: Path) -> tuple[Tensor | None, tuple[str, ...]]:
    """Turn the sources of a manifest into numbers; rows without one are of a source of that name.

    Args:
        values: the column, one text a row; None if there is none
        path: of the manifest

    Returns:
        the number of each row's source, int64, shape `(row,)`, or None; and the names of the sources
    """
    if values is None:
        return None, ()
    whole = _shortest_forms(values)
    names = {value: NO_SOURCE if is_missing(value) else whole.get(value, value) for value in set(values)}
    blank = _missing(values)
    if missing := sum(value in blank for value in values):
        warn(f"{path}: {missing} of {len(values)} rows have no source: they are reported as {NO_SOURCE!r}")
    every = sort_names(list(names.values()))
    index = {name: number for number, name in enumerate(every)}
    number = {value: index[name] for value, name in names.items()}
    return torch.from_numpy(np.fromiter((number[value] for value in values), np.int64, len(values))), tuple(every)


def find_groups(values: Sequence[str] | None, path: Path) -> tuple[Tensor | None, Tensor | None, dict[int, str]]:
    """Turn the groups of a manifest into numbers; each row without one is a group of its own.

    Args:
        values: the column, one text a row; None if there is none
        path: of the manifest

    Returns:
        int64, -1 for a row without a group, shape `(row,)`, None without a column; likewise whatever the case and
        spaces of the names, None where that is the same; and the name of each group by its number
    """
    if values is None:
        return None, None, {}
    whole = _shortest_forms(values)
    names = {value: "" if is_missing(value) else whole.get(value, value) for value in set(values)}
    if alike := find_alike(sorted(names.values())):
        told = few((" and ".join(map(shown, pair)) for pair in alike), shown=3)
        warn(
            f"{path}: {count_of(len(alike), 'group name')} in several spellings: {told}: they are taken for different "
            f"groups, which splits may divide"
        )
    forms = {name: likeness(name) for name in set(names.values())}
    other = group_ids([forms[names[value]] for value in values]) if any(k != v for k, v in forms.items()) else None
    every = [names[value] for value in values]
    numbers = group_ids(every)
    return numbers, other, {number: name for number, name in zip(numbers.tolist(), every, strict=True) if name}


def sort_names(values: Sequence[str]) -> list[str]:
    """Return the different values in order: as numbers if all are whole numbers, else as text.

    Example:
        >>> sort_names(["10", "9", "10"]), sort_names(["b", "a"])
        (['9', '10'], ['a', 'b'])
    """
    names = set(values)
    if not all(name.isdecimal() for name in names):
        return sorted(names)
    # sorted by length and digits, because Python does not convert numbers of 5,000 digits; equal numbers are sorted by
    # their leading zeros
    digits = {name: "".join(str(unicodedata.decimal(digit)) for digit in name).lstrip("0") for name in names}
    return sorted(names, key=lambda name: (len(digits[name]), digits[name], name))


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


def _missing(values: Sequence[str]) -> set[str]:
    return {value for value in set(values) if is_missing(value)}


def _shortest_forms(values: Sequence[str]) -> Mapping[str, str]:
    return whole_numbers(set(values) - _missing(values))


def _rows(rows: Sequence[int], values: Sequence[str], names: Sequence[str], one: str, many: str) -> str:
    """Begin a message: what holds of some rows, how many there are, and the first of them."""
    first = f"row {rows[0] + 1}: {one} ({shown(values[rows[0]])}, {names[rows[0]]})"
    if len(rows) == 1:
        return first
    return f"{first}; {len(rows)} of {len(values)} {many}: rows {few(row + 1 for row in rows)}"


def _unknown(column: str, rows: Sequence[int], values: Sequence[str], known: Sequence[str]) -> str:
    counts = Counter(values[row] for row in rows)
    first = values[rows[0]]
    others = f"; {len(rows)} rows of {few(f'{shown(v)} ({n})' for v, n in counts.items())}" if len(rows) > 1 else ""
    return f"row {rows[0] + 1}: unknown {column} {unknown_names([first], known)} (known: {few(known, 20)}){others}"


def _check_classes(labels: np.ndarray, splits: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    if len(class_names) < 2:
        raise ValueError(f"{path} must list images of at least 2 classes; it has {len(class_names)}")
    trained = np.bincount(labels[splits == TRAIN], minlength=len(class_names))
    if empty := [name for name, count in zip(class_names, trained, strict=True) if not count]:
        raise ValueError(f"{path}: {classes_have(empty, 'no image in the training split')}")
