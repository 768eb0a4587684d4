"""TableInputs: rows of a table to what a network takes: imputed, standardised, one value for each category."""

import torch
from torch import Tensor, nn

from datamodules.table_info import TableInfo, codes_of


class TableInputs(nn.Module):
    """Standardise numbers, and give each category a value that is 1 where it is there.

    What it knows is taken from the training split, and is part of the model's weights.

    Args:
        table: the columns
    """

    mean: Tensor
    std: Tensor
    fill: Tensor
    codes: Tensor
    _numbers: Tensor
    _owners: Tensor

    def __init__(self, table: TableInfo) -> None:
        super().__init__()
        columns = list(enumerate(table.columns))
        numbers = [(place, column) for place, column in columns if column.is_number]
        # a category is known by its column and the code of its text
        owners: list[int] = []
        codes: list[float] = []
        self.names = [column.name for _, column in numbers]
        for place, column in columns:
            by_text = codes_of(column.categories)
            owners += [place] * len(column.categories)
            codes += [by_text[text] for text in column.categories]
            self.names += [f"{column.name}={text}" for text in column.categories]

        def exact(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64)

        self.register_buffer("mean", exact([column.mean for _, column in numbers]))
        self.register_buffer("std", exact([column.std for _, column in numbers]))
        fills = [float("nan") if column.fill is None else column.fill for _, column in numbers]
        self.register_buffer("fill", exact(fills))
        self.register_buffer("codes", exact(codes))
        self.register_buffer("_numbers", torch.tensor([place for place, _ in numbers], dtype=torch.int64), False)
        self.register_buffer("_owners", torch.tensor(owners, dtype=torch.int64), False)

    @property
    def dim(self) -> int:
        """How many values a network gets of a row."""
        return len(self.names)

    def forward(self, rows: Tensor) -> Tensor:
        """Compute the inputs `(batch, dim)`, float32, of rows `(batch, column)`, float64.

        A number that is missing is filled; a category that is missing, or unknown, is none of those that are known.
        """
        numbers = rows.index_select(1, self._numbers)
        numbers = (torch.where(numbers.isnan(), self.fill, numbers) - self.mean) / self.std
        categories = rows.index_select(1, self._owners) == self.codes
        return torch.cat([numbers.float(), categories.float()], dim=1)

    def unseen(self, rows: Tensor, place: int) -> Tensor:
        """Tell which rows hold a category that is not known, bool, shape `(row,)`.

        Args:
            rows: float64, shape `(row, column)`
            place: of the column
        """
        known = self.codes[self._owners == place]
        cells = rows[:, place]
        return ~(cells.isnan() | torch.isin(cells, known)) if len(known) else torch.zeros_like(cells, dtype=torch.bool)
