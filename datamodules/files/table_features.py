"""The cells of a table as numbers: which columns are features, of which kind, and what cannot be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.few import count_of, few
from common.spelling import nearest
from datamodules.files.cell_values import is_missing
from datamodules.names import shown
from datamodules.table_info import Missing, ReadColumn, codes_of

# a column of more texts than this, most of which come once, names its rows
MANY_TEXTS = 50
Cells = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class FeatureOptions:
    """Which columns of a table are read, and how.

    Args:
        features: names of the columns; None takes all that have no other use
        categorical: those whose numbers are names, such as a postal code
        numeric: those that must be numbers
        missing: what becomes of missing values
    """

    features: Sequence[str] | None = None
    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    missing: Missing = "error"


def check_columns(wanted: Sequence[str], known: Sequence[str], path: Path, option: str) -> None:
    """Refuse a column that is not there.

    Raises:
        ValueError: the message names the nearest one
    """
    lacking = [name for name in wanted if name not in known]
    if lacking:
        hint = nearest(lacking[0], known) or f" (it has {few(known, 20)})"
        more = f" (nor {few(map(shown, lacking[1:]))})" if lacking[1:] else ""
        raise ValueError(f"{path} has no column {shown(lacking[0])}{more}, which --data.{option} names{hint}")


def read_features(
    table: Cells, names: Sequence[str], options: FeatureOptions, path: Path
) -> tuple[Tensor, list[ReadColumn]]:
    """Turn columns of text into numbers.

    Args:
        table: the text of each cell, by column
        names: of the columns that are features
        options: how they are read
        path: of the file, for messages

    Returns:
        float64, shape `(row, column)`: numbers, or codes of texts, NaN where a value is missing; and what they are

    Raises:
        ValueError: cells cannot be read; the message names all such columns
    """
    columns, read, faults = [], [], []
    for name in names:
        try:
            values, column = read_column(name, table[name], options)
        except ValueError as error:
            faults.append(str(error))
            continue
        columns.append(values)
        read.append(column)
    if faults:
        raise ValueError(f"{path}: {few(faults, separator='; ')}")
    return torch.from_numpy(np.stack(columns, axis=1)), read


def read_column(name: str, texts: Sequence[str], options: FeatureOptions) -> tuple[NDArray[np.float64], ReadColumn]:
    """Turn a column of text into numbers; see `read_features`.

    Raises:
        ValueError: it cannot be read
    """
    values, odd = as_numbers(texts)
    if odd and name not in options.categorical and not as_numbers([texts[row].replace(",", ".", 1) for row in odd])[1]:
        raise ValueError(
            f"column {shown(name)} writes numbers with a comma (row {odd[0] + 1}: {shown(texts[odd[0]])}): write points"
        )
    if name in options.categorical or (len(odd) > np.isfinite(values).sum() and name not in options.numeric):
        values, column = _categories(name, texts)
    elif odd:
        count = f"{len(odd)} of {len(texts)} values are no numbers" if len(odd) > 1 else "a value is no number"
        way = "mend it" if name in options.numeric else "mend it, or list the column in --data.categorical"
        raise ValueError(f"column {shown(name)}: {count} (row {odd[0] + 1}: {shown(texts[odd[0]])}): {way}")
    else:
        column = ReadColumn(name)
    gone = np.flatnonzero(np.isnan(values)).tolist()
    if gone and options.missing == "error":
        rows = few(row + 1 for row in gone)
        raise ValueError(
            f"column {shown(name)} lacks {count_of(len(gone), 'value')} (rows {rows}): fill in, or set --data.missing "
            f"mean or median"
        )
    return values, column


def _categories(name: str, texts: Sequence[str]) -> tuple[NDArray[np.float64], ReadColumn]:
    different = {text for text in texts if not is_missing(text)}
    if len(different) > max(MANY_TEXTS, len(texts) // 2):
        raise ValueError(
            f"column {shown(name)} holds {len(different)} different texts in {len(texts)} rows, as a name of each row "
            f"does: leave it out by --data.drop, or name the rows by it with --data.id"
        )
    codes = codes_of(sorted(different))
    values = np.fromiter((codes.get(text, np.nan) for text in texts), np.float64, len(texts))
    return values, ReadColumn(name, {code: text for text, code in codes.items()})


def as_numbers(texts: Sequence[str]) -> tuple[NDArray[np.float64], list[int]]:
    """Read numbers.

    Args:
        texts: of the cells

    Returns:
        NaN where one is missing, shape `(row,)`; and the rows that hold something else than a finite number
    """
    known = {text: np.nan if is_missing(text) else _number(text) for text in set(texts)}
    values = np.fromiter((known[text] for text in texts), np.float64, len(texts))
    return values, np.flatnonzero(np.isinf(values)).tolist()


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return np.inf
    return np.inf if np.isnan(found) else found
