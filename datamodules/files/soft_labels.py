"""Labels as distributions: columns of a manifest with the probability of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.few import few
from datamodules.files.tables import PROBABILITY
from datamodules.names import shown

# what rounded probabilities may add up to more or less than 1
TOLERANCE = 0.01


def find_targets(
    table: Mapping[str, Sequence[str]], names: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], Sequence[str], list[str]]:
    """Read the probabilities of a manifest.

    Args:
        table: its columns
        names: the paths, for messages

    Returns:
        the column of each class, adding up to 1 in each row, or none; the label of each row, which is the most probable
        class where there are probabilities; and what is wrong
    """
    given = {found[1]: column for name, column in table.items() if (found := PROBABILITY.fullmatch(name))}
    if not given:
        return {}, table["label"], []
    if len(given) == 1:
        (alone,) = given
        return {}, [alone] * len(names), [f"the only column of probabilities is p({alone}): give one for each class"]
    matrix = np.array([[as_number(text) for text in column] for column in given.values()]).T
    sums = matrix.sum(1)
    wrong = ~(matrix >= 0).all(1) | ~(np.abs(sums - 1) <= TOLERANCE)
    faults = []
    if wrong.any():
        row = int(wrong.argmax())
        faults.append(
            f"row {row + 1}: its probabilities are not numbers from 0 that add up to 1 "
            f"({few(given[name][row] or 'empty' for name in given)}, {names[row]})" + others(wrong)
        )
    classes = list(given)
    likeliest = [classes[number] for number in np.nan_to_num(matrix).argmax(1).tolist()]
    if "label" in table and not faults:
        # of classes that are as probable, the label says which one counts
        at = np.array([matrix[row, classes.index(t)] if t in given else -1 for row, t in enumerate(table["label"])])
        unlike = at < matrix.max(1)
        if unlike.any():
            row = int(unlike.argmax())
            faults.append(
                f"row {row + 1}: the label {shown(table['label'][row])} is not the most probable class "
                f"{shown(likeliest[row])} ({names[row]}): leave the column label out" + others(unlike)
            )
        likeliest = list(table["label"])
    scaled = matrix / np.where(wrong, 1, sums)[:, None]
    return dict(zip(classes, scaled.T, strict=True)), likeliest, faults


def in_order_of(targets: Mapping[str, NDArray[np.float64]], class_names: Sequence[str], path: Path) -> Tensor | None:
    """Put the columns of the classes into label order.

    Args:
        targets: by class
        class_names: in label order
        path: of the manifest

    Returns:
        float32, shape `(row, class)`; None without any

    Raises:
        ValueError: there are other classes than columns
    """
    if not targets:
        return None
    if lacking := [name for name in (*targets, *class_names) if name not in targets or name not in class_names]:
        raise ValueError(
            f"{path}: classes and columns of probabilities differ in {few(map(shown, lacking))}: each class needs a "
            f"column p(CLASS), and must be the most probable one of an image"
        )
    columns = [torch.from_numpy(np.ascontiguousarray(targets[name])) for name in class_names]
    return torch.stack(columns, 1).float()


def as_number(text: str) -> float:
    """Read a number, also with a decimal comma; NaN for what is none."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return float("nan")


def others(mask: NDArray[np.bool_]) -> str:
    """Say how many rows have the fault, and which, if there are more than one."""
    rows = (np.flatnonzero(mask) + 1).tolist()
    return f"; {len(rows)} of {len(mask)} rows: {few(rows)}" if len(rows) > 1 else ""
