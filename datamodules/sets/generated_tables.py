"""Tables that are generated: two small problems whose solution is known."""

from pathlib import Path
from typing import Literal

import numpy as np

from common.options import configurable
from common.ranges import check_ranges
from datamodules.files.tables import Table
from datamodules.sets.table_data import TableData


@configurable
class GeneratedTable(TableData):
    """A table that is drawn from a seed, and needs no file.

    Args:
        rows: how many there are
        table_seed: names the draw
    """

    rows: int = 1000
    table_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("--data", self, {"rows": "[20, inf)", "table_seed": "[0, inf)"})

    def generate(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw the columns by name, each of shape `(row,)`."""
        raise NotImplementedError(f"{type(self).__name__} must override generate()")

    def read(self, path: Path, *needed: str) -> Table:
        """Draw the table; what is predicted on is read from its file."""
        if self.predict_path is not None and path == Path(self.predict_path):
            return super().read(path, *needed)
        columns = self.generate(np.random.default_rng(self.table_seed))
        return {name: [str(value) for value in values.tolist()] for name, values in columns.items()}


@configurable
class Houses(GeneratedTable):
    """Areas and prices of houses: price = 200 + 0.1 area + noise of 20."""

    path: str = "houses"
    rows: int = 10_000
    target: str = "price"
    task: Literal["classification", "regression"] = "regression"

    def generate(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw areas from 500 to 3,500, and their prices."""
        area = rng.uniform(500, 3500, self.rows)
        return {"area": area, "price": 200 + 0.1 * area + rng.normal(0, 20, self.rows)}


@configurable
class TwoGroups(GeneratedTable):
    """Points of two overlapping groups in a plane."""

    path: str = "two_groups"
    target: str = "group_name"

    def generate(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw as many points around (1, 2) as around (3, 3), with unlike scales."""
        second = np.arange(self.rows) % 2 == 1
        centers = np.where(second[:, None], [3.0, 3.0], [1.0, 2.0])
        x, y = (centers + rng.normal(0, [1.0, 0.6], (self.rows, 2))).T
        return {"x": x, "y": y, "group_name": np.where(second, "second", "first")}
