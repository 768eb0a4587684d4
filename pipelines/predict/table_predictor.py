"""TablePredictor: a trained model of a table that predicts from Python, as an estimator of scikit-learn."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from torch import Tensor

from common.few import few
from common.ranges import check_range
from common.spelling import nearest
from datamodules.files.cell_values import is_missing
from datamodules.files.table_features import as_numbers
from datamodules.names import shown
from datamodules.table_info import Column, TableInfo, codes_of
from lightning_modules.checkpoints import find_model, load_model
from lightning_modules.classifier import Classifier
from lightning_modules.model import Model
from lightning_modules.regressor import Regressor
from lightning_modules.table_model import TableModel
from pipelines.predict.predictor import card_of, device_of

# rows as columns by name, which a data frame is too; as mappings; or as an array with a column for each feature
Rows = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | NDArray[Any] | Any


class TablePredictor(BaseEstimator):
    """A trained model of a table; methods take rows with the columns that it was trained on, by name.

    Rows are a data frame or a mapping from names to columns, a list of mappings from names to cells, or a numpy array
    with the columns of `columns` in their order.

    Args:
        path: a run's folder, a checkpoint, or the folder of a stack of tables alone
        device: such as cpu, cuda or cuda:1; auto takes a GPU where there is one
        batch_size: rows computed at once

    Raises:
        FileNotFoundError: there is no checkpoint
        ValueError: it is damaged, or of another model; or an argument is wrong
    """

    def __init__(self, path: str | Path, device: str = "auto", batch_size: int = 4096) -> None:
        check_range("batch_size", batch_size, "[1, inf)")
        self.path, self.device, self.batch_size = path, device, batch_size
        self.checkpoint = find_model(Path(path))
        self.model: Model = load_model(self.checkpoint).to(device_of(device))
        if self.model.info.table is None:
            raise ValueError(f"{self.checkpoint} holds a {type(self.model).__name__}, which reads no table")
        self.table: TableInfo = self.model.info.table

    @property
    def columns(self) -> list[str]:
        """Names of the columns that it reads, in their order."""
        return self.table.names

    @property
    def card(self) -> dict[str, Any]:
        """What the model is, what it was trained on, and what it reached, as plain Python types."""
        return {**card_of(self.model, self.checkpoint), "columns": self.columns}

    def read(self, rows: Rows) -> Tensor:
        """Turn rows into what the model takes, float64, shape `(row, column)`.

        Args:
            rows: see the class

        Raises:
            ValueError: a column is missing, or holds what the model cannot read; the message names it
        """
        given = by_column(rows, self.columns)
        lacking = [name for name in self.columns if name not in given]
        if lacking:
            hint = nearest(lacking[0], given) or f" (given: {few(map(shown, given))})"
            raise ValueError(f"the rows have no column {few(map(shown, lacking))}, which the model reads{hint}")
        read = [read_cells(column, list(given[column.name])) for column in self.table.columns]
        texts = {code: text for _, own in read for code, text in own.items()}
        sizes = {len(cells) for cells, _ in read}
        if len(sizes) != 1 or not sizes - {0}:
            raise ValueError(f"the columns must be of one length above 0, not {few(sorted(sizes))}")
        found = torch.from_numpy(np.stack([cells for cells, _ in read], axis=1))
        names = [f"row {number}" for number in range(len(found))]
        for module in self.model.modules():
            if isinstance(module, TableModel):
                module.check_rows(found.to(module.device), names, texts)
        return found

    def outputs(self, rows: Rows) -> Tensor:
        """Compute the model's outputs `(row, output)`: logits, or numbers on the scale of the training."""
        device, found = next(self.model.parameters()).device, []
        with torch.inference_mode():
            for chunk in self.read(rows).split(self.batch_size):
                found.append(self.model(chunk.to(device)).float())
        return torch.cat(found)

    def fit(self, rows: Rows, targets: Any) -> Self:
        """Refuse to be trained: scikit-learn expects the method.

        Raises:
            ValueError: always
        """
        raise ValueError("a Predictor is trained already: train another model by francesinha.fit")

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn that it need not be trained."""
        return True

    def __sklearn_clone__(self) -> Self:
        """Return itself to scikit-learn, which copies estimators to train them."""
        return self


class TableClassPredictor(ClassifierMixin, TablePredictor):
    """A trained classifier of rows; see `TablePredictor`."""

    def __init__(self, path: str | Path, device: str = "auto", batch_size: int = 4096) -> None:
        super().__init__(path, device, batch_size)
        self.classes_ = np.array(self.model.info.class_names)

    def predict(self, rows: Rows) -> NDArray[np.str_]:
        """Name the most probable class of each row, shape `(row,)`."""
        named: NDArray[np.str_] = self.classes_[self.outputs(rows).argmax(1).cpu().numpy()]
        return named

    def predict_proba(self, rows: Rows) -> NDArray[np.float64]:
        """Compute the probability of each class, in the order of `classes_`, shape `(row, class)`."""
        probabilities: NDArray[np.float64] = self.outputs(rows).double().softmax(1).cpu().numpy()
        return probabilities


class TableNumberPredictor(RegressorMixin, TablePredictor):
    """A trained regressor of rows; see `TablePredictor`."""

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Predict the number of each row in its own units, shape `(row,)`."""
        assert isinstance(self.model, Regressor)
        predicted: NDArray[np.float64] = self.model.scale.in_units(self.outputs(rows)).cpu().numpy()
        return predicted


def table_predictor(path: str | Path, device: str) -> TablePredictor:
    """Load what predicts classes, or what predicts numbers.

    Args:
        path: see `TablePredictor`
        device: likewise
    """
    is_classifier = isinstance(load_model(find_model(Path(path))), Classifier)
    return TableClassPredictor(path, device) if is_classifier else TableNumberPredictor(path, device)


def by_column(rows: Rows, columns: Sequence[str]) -> Mapping[str, Iterable[Any]]:
    """Return rows as columns by name.

    Args:
        rows: see `TablePredictor`
        columns: names of those of an array

    Raises:
        ValueError: they have another form
    """
    if isinstance(rows, Mapping):
        return rows
    if hasattr(rows, "columns") and hasattr(rows, "to_dict"):
        # a data frame
        return {str(name): rows[name].tolist() for name in rows.columns}
    if isinstance(rows, np.ndarray | Tensor):
        if rows.ndim != 2 or rows.shape[1] != len(columns):
            raise ValueError(
                f"an array of rows must have the shape (row, {len(columns)}), with the columns "
                f"{few(map(shown, columns), 20)}, not {tuple(rows.shape)}"
            )
        return dict(zip(columns, rows.T.tolist(), strict=True))
    if isinstance(rows, Sequence) and rows and all(isinstance(row, Mapping) for row in rows):
        return {name: [row.get(name) for row in rows] for name in dict.fromkeys(n for row in rows for n in row)}
    raise ValueError(
        "rows must be a data frame, a mapping from names to columns, a list of mappings, or an array with a column for "
        "each feature"
    )


def read_cells(column: Column, cells: list[Any]) -> tuple[NDArray[np.float64], dict[float, str]]:
    """Read the cells of a column as they are read from a file.

    Args:
        column: what the model knows of it
        cells: of Python's types

    Returns:
        numbers, or codes of texts, NaN where one is missing; and the text of each code

    Raises:
        ValueError: a cell is no number in a column of numbers
    """
    texts = ["" if cell is None or cell != cell else str(cell) for cell in cells]
    if column.is_number:
        values, odd = as_numbers(texts)
        if odd:
            raise ValueError(f"column {shown(column.name)} must hold numbers: row {odd[0]} has {shown(texts[odd[0]])}")
        return values, {}
    codes = codes_of([text for text in texts if not is_missing(text)])
    return np.array([codes.get(text, np.nan) for text in texts]), {code: text for text, code in codes.items()}
