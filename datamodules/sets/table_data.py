"""Rows of a table: columns of features, and one that is to be predicted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from common.few import count_of, few
from common.options import configurable, option
from common.ranges import check_range
from datamodules.base import DataModule
from datamodules.dataset import Dataset
from datamodules.files.image_files import TEST, TRAIN, VAL
from datamodules.files.table_features import FeatureOptions, as_numbers, check_columns, read_features
from datamodules.files.tables import Table, read_columns
from datamodules.names import classes_have, shown
from datamodules.provenance import sample_ids, text_hashes
from datamodules.samples import Samples, TensorSource
from datamodules.sets.manifest import find_classes, find_groups, find_sources, find_splits
from datamodules.table_info import Missing, table_info

# columns that have a use of their own, unless they are named as features
ROLES = ("split", "source", "group")
# between the cells of a row, and between a row and how often it came before
CELL, TIME = "\x1f", "\x1e"


@configurable
class TableData(DataModule):
    """Rows of a CSV or parquet file: columns of features, and a column that is to be predicted.

    Numbers are features as they are, and texts one feature for each of their values. Columns named split (train, val or
    test), source and group mean what they do in a manifest. Rows that are equal in all columns count as copies of one.

    Args:
        path: the file, with the suffix .csv, .tsv or .parquet
        target: the column that is to be predicted
        task: what it holds: classification (classes) or regression (numbers)
        features: the columns that are read; null takes all that have no other use
        drop: columns that are not read
        id: a column that names each row; rows of one name are one sample, whatever else is in them and in whatever file
        categorical: columns whose numbers are names, such as a postal code
        numeric: columns that must hold numbers
        missing: what becomes of missing values: error, or the mean or median of the training split
        class_names: the name of each class, in label order; null sorts those found
        encoding: of a CSV file that is not UTF-8 or UTF-16, such as cp1252; null finds which of those it is
        test_fraction: share of the rows held out as the test split, stratified; ignored where the file has one, or
            where `held_out` is test
        predict_path: file of rows for `predict`, which need no target; null predicts on the test split
    """

    path: str = "table.csv"
    target: str = "label"
    task: Literal["classification", "regression"] = "classification"
    features: list[str] | None = option(None, "reading")
    drop: tuple[str, ...] = option((), "reading")
    id: str | None = None
    categorical: tuple[str, ...] = option((), "reading")
    numeric: tuple[str, ...] = option((), "reading")
    missing: Missing = option("error", "reading")
    class_names: list[str] | None = option(None, "reading")
    encoding: str | None = option(None, "reading")
    test_fraction: float = option(0.2, "split")
    predict_path: str | None = option(None, "reading")

    sample_word: ClassVar[str] = "row"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--data.test_fraction", self.test_fraction, "[0, 1)")
        if both := sorted({*self.categorical} & {*self.numeric}):
            raise ValueError(f"--data.categorical and --data.numeric both name {few(map(shown, both))}")
        if self.features is not None and self.target in self.features:
            raise ValueError(f"--data.features names the target {shown(self.target)}: a model would only copy it")
        if self.features is not None and (twice := [n for n, count in Counter(self.features).items() if count > 1]):
            raise ValueError(f"--data.features names {few(map(shown, twice))} more than once")
        if self.task == "regression":
            of_classes = {
                "sampler": self.sampler != "none",
                "long_tail": self.long_tail != "none",
                "class_names": self.class_names is not None,
                "positive_class": self.positive_class is not None,
                "ordinal": self.ordinal,
            }
            if wrong := [name for name, given in of_classes.items() if given]:
                raise ValueError(f"--data.{wrong[0]} is for classes, and --data.task regression predicts a number")

    @property
    def test_is_drawn(self) -> bool:
        """Whether another `split_seed` may draw other test rows; not known before the file is read."""
        return super().test_is_drawn or self.test_fraction > 0

    def load(self) -> Dataset:
        """Read the table, and draw a test split where there is none."""
        path = Path(self.path)
        table = self.read(path, self.target)
        check_columns([self.target], list(table), path, "target")
        names = self._names(table, path)
        rows = self._rows(table)
        labels, class_names, values = self._targets(table, rows, path)
        features, columns = read_features(table, names, self._options, path)
        self._refuse_copies_of_target(table, names, path)
        splits, faults = find_splits(self._role(table, "split"), rows, path)
        if faults:
            raise ValueError(f"{path}, {'; '.join(faults)}")
        sources, source_names = find_sources(self._role(table, "source"), path)
        groups, forms, group_names = find_groups(self._role(table, "group"), path)
        every = self._samples(table, rows, labels, features, path)
        alone = [
            None if column is None else torch.where(column == -1, every.keys, column) for column in (groups, forms)
        ]
        every = replace(every, sources=sources, groups=alone[0], group_forms=alone[1], values=values)
        train, val, test = (every.subset(np.flatnonzero(splits == part)) for part in (TRAIN, VAL, TEST))
        counts = torch.bincount(train.labels, minlength=len(class_names)).tolist()
        if empty := [name for name, count in zip(class_names, counts, strict=True) if not count]:
            raise ValueError(f"{path}: {classes_have(empty, 'no row in the training split')}")
        given: Samples | None = test if len(test) else None
        if given is None and self.test_fraction and self.held_out != "test":
            train, given = self.draw(train, [self.test_fraction], class_names)
        return Dataset(
            train,
            given,
            class_names,
            val if len(val) else None,
            source_names,
            group_names=group_names,
            columns=tuple(columns),
        )

    def load_predict(self) -> Samples | None:
        """Read the rows of `predict_path`; their labels are -1."""
        if self.predict_path is None:
            return None
        path = Path(self.predict_path)
        table = self.read(path, *(self.features or ()))
        names = self._names(table, path)
        rows = self._rows(table)
        features, columns = read_features(table, names, self._options, path)
        self._predicted_columns = tuple(columns)
        return self._samples(table, rows, np.full(len(rows), -1), features, path)

    def texts_of(self, split: str) -> dict[float, str]:
        """Return the text of each code in the features of a split; those to predict on have their own.

        Args:
            split: one of train, val, stack, test, predict
        """
        if split != "predict" or self.predict_path is None:
            return super().texts_of(split)
        self.samples(split)
        return {code: text for column in self._predicted_columns for code, text in column.texts.items()}

    def input_facts(self) -> dict[str, Any]:
        """Return the columns, with the statistics of the training split."""
        train, source = self.splits["train"], self.splits["train"].source
        info = table_info(source.gather(train.rows), self.dataset.columns, self.missing, "rows", train.values)
        if info.target is not None:
            info = replace(info, target=replace(info.target, name=self.target))
        return {"table": info}

    def training_notes(self) -> list[str]:
        """Say how many rows are equal to others."""
        parts = [part for part in (self.dataset.train, self.dataset.val, self.dataset.test) if part is not None]
        keys = torch.cat([part.contents for part in parts])
        equal = len(keys) - len(keys.unique())
        if not equal:
            return []
        return [
            f"{self.path}: {equal:,} of {len(keys):,} rows are equal to another one in all columns: they count as "
            f"copies, which splits never divide; a column that tells rows apart, given as --data.id, makes them differ"
        ]

    # reading

    @cached_property
    def _options(self) -> FeatureOptions:
        return FeatureOptions(self.features, self.categorical, self.numeric, self.missing)

    def read(self, path: Path, *needed: str) -> Table:
        """Read all columns of a file as text.

        Args:
            path: of the file
            needed: columns that tell its header
        """
        if not path.is_file():
            which = "path" if path == Path(self.path) else "predict_path"
            raise FileNotFoundError(f"--data.{which} {str(path)!r} is not a file")
        return read_columns(path, self.encoding, needed)

    def _names(self, table: Table, path: Path) -> list[str]:
        """Return the names of the columns that are features."""
        known = list(table)
        for which in ("features", "categorical", "numeric"):
            check_columns(getattr(self, which) or (), known, path, which)
        if self.id is not None:
            check_columns([self.id], known, path, "id")
        if self.features is not None:
            return list(self.features)
        for name in self.drop:
            # a file to predict on may lack what is not read
            if path == Path(self.path):
                check_columns([name], known, path, "drop")
        others = {self.target, self.id, *ROLES, *self.drop}
        names = [name for name in known if name not in others]
        if not names:
            raise ValueError(f"{path} has no column of features beside {few(map(shown, known), 20)}")
        return names

    def _role(self, table: Table, name: str) -> Sequence[str] | None:
        return None if name in (self.features or ()) else table.get(name)

    def _rows(self, table: Table) -> list[str]:
        """Return what each row is called."""
        count = len(next(iter(table.values())))
        return list(table[self.id]) if self.id is not None else [f"row {number + 1}" for number in range(count)]

    def _targets(self, table: Table, rows: list[str], path: Path) -> tuple[np.ndarray, list[str], Tensor | None]:
        """Read what is to be predicted: a class of each row, or a number."""
        texts = table[self.target]
        if self.task == "classification":
            labels, class_names, faults = find_classes(texts, self.class_names, rows)
            if faults:
                hint = "" if as_numbers(texts)[1] else ", or set --data.task regression if it is a number"
                raise ValueError(f"{path}, column {shown(self.target)}, {'; '.join(faults)}{hint}")
            if len(class_names) < 2:
                raise ValueError(
                    f"{path}: column {shown(self.target)} has one class ({few(map(shown, class_names))}): there must "
                    f"be two at least"
                )
            return labels, class_names, None
        values, odd = as_numbers(texts)
        if odd:
            raise ValueError(
                f"{path}: the target {shown(self.target)} is no number in {count_of(len(odd), 'row')} (row "
                f"{odd[0] + 1}: {shown(texts[odd[0]])}): mend it, or set --data.task classification"
            )
        if missing := np.flatnonzero(np.isnan(values)).tolist():
            told = few(row + 1 for row in missing)
            raise ValueError(
                f"{path}: the target {shown(self.target)} is missing in {count_of(len(missing), 'row')} (rows {told}): "
                f"give it, or leave the rows out"
            )
        return np.zeros(len(values), np.int64), [self.target], torch.from_numpy(values)

    def _refuse_copies_of_target(self, table: Table, names: Sequence[str], path: Path) -> None:
        target = table[self.target]
        numbers = as_numbers(target)
        for name in names:
            same = table[name] == target
            if not same and self.task == "regression" and not numbers[1]:
                values, odd = as_numbers(table[name])
                same = not odd and bool(np.array_equal(values, numbers[0]))
            if same:
                raise ValueError(
                    f"{path}: column {shown(name)} is equal to the target {shown(self.target)} in every row, so that a "
                    f"model would only copy it: leave it out by --data.drop"
                )

    def _samples(self, table: Table, rows: list[str], labels: np.ndarray, features: Tensor, path: Path) -> Samples:
        """Make samples that are known by the content of their rows, and by their names where they have some."""
        texts = [CELL.join(cells) for cells in zip(*table.values(), strict=True)]
        keys = torch.from_numpy(text_hashes(texts))
        pixels = None
        if self.id is not None:
            if twice := [name for name, count in Counter(rows).items() if count > 1]:
                raise ValueError(
                    f"{path}: column {shown(self.id)} names several rows {few(map(shown, twice))} (--data.id): call it "
                    f"group if its rows belong together"
                )
            ids = sample_ids(rows)
            pixels = torch.from_numpy(text_hashes([f"{self.id}{CELL}{name}" for name in rows]))
        else:
            # equal rows are told apart by how often they came before
            before: Counter[str] = Counter()
            named = []
            for text in texts:
                named.append(f"{text}{TIME}{before[text]}")
                before[text] += 1
            ids = sample_ids(named)
        where = torch.arange(len(rows))
        source = TensorSource(features, "table")
        return Samples(source, where, torch.from_numpy(labels), ids, keys, rows, pixels=pixels)
