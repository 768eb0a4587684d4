"""What a model must know of a table: its columns, with what is needed to turn their cells into its inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from common.few import few
from datamodules.names import names_differ, shown
from datamodules.provenance import text_hashes

Missing = Literal["error", "mean", "median"]
KnownBy = Literal["rows", "images"]
# whole numbers up to this are exact in double precision
EXACT = 2**52 - 1


@dataclass(frozen=True)
class Column:
    """A column of features.

    Args:
        name: of the column
        categories: texts that it holds in the training split, sorted; empty for a column of numbers
        mean: of its numbers over the training split
        std: likewise their standard deviation
        fill: number that stands for a missing one; None refuses those
    """

    name: str
    categories: list[str] = field(default_factory=list)
    mean: float = 0.0
    std: float = 1.0
    fill: float | None = None

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return not self.categories


@dataclass(frozen=True)
class TableInfo:
    """The features of a table, and its target where that is a number.

    Args:
        columns: the features, in the order in which a model reads them
        missing: what becomes of missing values
        known_by: by what samples are recognised: their rows, or the images beside them
        target: of a regression, with the mean and deviation of the training split; None for classes
    """

    columns: list[Column]
    missing: Missing = "error"
    known_by: KnownBy = "rows"
    target: Column | None = None

    @property
    def names(self) -> list[str]:
        """Name of each column."""
        return [column.name for column in self.columns]

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "TableInfo":
        """Rebuild from plain types."""
        target = values.get("target")
        columns = [column if isinstance(column, Column) else Column(**dict(column)) for column in values["columns"]]
        if target is not None and not isinstance(target, Column):
            target = Column(**dict(target))
        return cls(columns, values.get("missing", "error"), values.get("known_by", "rows"), target)

    def difference(self, other: "TableInfo | None", ours: str, theirs: str) -> str:
        """Say in what two tables differ that a model minds; empty where in nothing.

        Args:
            other: the one on the other side
            ours: what to call this side
            theirs: what to call the other side
        """
        if other is None:
            return f"{ours} reads the columns {few(map(shown, self.names))}, and {theirs} has no table"
        if self.known_by != other.known_by:
            return (
                f"{ours} knows its samples by {self.known_by}, and {theirs} by {other.known_by}: what it was fitted on "
                f"cannot be recognised there; train it on the same Manifest with --data.features"
            )
        if self.names != other.names:
            return f"the columns of {ours} and {theirs} differ ({names_differ(self.names, other.names)})"
        kinds = [a.name for a, b in zip(self.columns, other.columns, strict=True) if a.is_number != b.is_number]
        if kinds:
            return f"columns {few(map(shown, kinds))} hold numbers in {ours} or in {theirs}, and texts in the other"
        if (self.target is None) != (other.target is None):
            number, classes = (ours, theirs) if self.target is not None else (theirs, ours)
            return f"{number} has a number for a target, and {classes} classes: set --data.task"
        return ""


@dataclass(frozen=True)
class ReadColumn:
    """A column of features as it was read.

    Args:
        name: of the column
        texts: the text of each code in it; empty for a column of numbers
    """

    name: str
    texts: Mapping[float, str] = field(default_factory=dict)


def codes_of(texts: Sequence[str]) -> dict[str, float]:
    """Return the number that stands for each text in a tensor of features, the same everywhere.

    Args:
        texts: of one column
    """
    different = sorted(set(texts))
    codes = (text_hashes(different) & EXACT).astype(np.float64).tolist()
    return dict(zip(different, codes, strict=True))


def table_info(
    features: Tensor, columns: Sequence[ReadColumn], missing: Missing, known_by: KnownBy, values: Tensor | None = None
) -> TableInfo:
    """Take the statistics of a training split.

    Args:
        features: float64, shape `(sample, column)`: numbers, or codes of texts; NaN where a value is missing
        columns: what they are
        missing: what becomes of missing values
        known_by: by what samples are recognised
        values: what is to be predicted of a regression, float64, shape `(sample,)`

    Raises:
        ValueError: a column is constant, or empty; the message names all of them
    """
    found, faults = [], []
    for column, cells in zip(columns, features.unbind(1), strict=True):
        known = cells[~cells.isnan()]
        different = known.unique()
        if len(different) < 2:
            only = "no value" if not len(different) else f"one value ({_cell(column, float(different[0]))})"
            faults.append(f"column {shown(column.name)} has {only} in the training split")
        elif column.texts:
            found.append(Column(column.name, sorted(column.texts[code] for code in different.tolist())))
        else:
            fill = {"error": None, "mean": float(known.mean()), "median": float(known.quantile(0.5))}[missing]
            whole = cells if fill is None else torch.where(cells.isnan(), fill, cells)
            found.append(Column(column.name, [], float(whole.mean()), float(whole.std(correction=0)), fill))
    if faults:
        raise ValueError(
            f"{few(faults, separator='; ')}: leave it out by --data.drop, for nothing can be learned of it"
        )
    target = None
    if values is not None:
        deviation = float(values.std(correction=0))
        if not deviation > 0:
            raise ValueError("the target has one value in the training split: there is nothing to learn")
        target = Column("target", [], float(values.mean()), deviation)
    return TableInfo(found, missing, known_by, target)


def _cell(column: ReadColumn, value: float) -> str:
    return shown(column.texts[value]) if column.texts else f"{value:g}"


def plain_table(table: TableInfo | None) -> dict[str, Any] | None:
    """Return a table's facts as plain Python types."""
    return None if table is None else asdict(table)
