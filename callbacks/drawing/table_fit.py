"""What a model of a table has learned, drawn over its features."""

from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray

from callbacks.drawing.base import Drawn, EvaluationDrawing, title_of
from common.printable import printable
from lightning_modules.model import Model
from lightning_modules.regressor import Regressor
from lightning_modules.table_model import TableModel

# points of a line, and of each side of a plane
LINE, SIDE = 200, 200
# room around the samples, as a share of their range
MARGIN = 0.05


class TableFit(EvaluationDrawing):
    """Draw the fitted line over one feature, the decision boundary over two, and predicted over true numbers."""

    subject: ClassVar[str] = "fit of a table"
    needs_weights: ClassVar[bool] = True
    of_models: ClassVar[type[Model]] = TableModel

    def _drawn(self, trainer: pl.Trainer, model: Any, split: str) -> Drawn:
        from figures.table_fit import decision_boundary, fitted_line, predicted_values

        data, columns = trainer.datamodule, model.table.columns  # type: ignore[attr-defined]
        title = title_of(trainer, split, len(model.predictions["id"]), "rows")
        names = [printable(column.name) for column in columns]
        samples = data.inputs(data.samples(split), model.reads)
        rows = samples.source.gather(samples.rows).cpu().numpy()
        rows = rows[~np.isnan(rows).any(1)] if len(columns) <= 2 else rows
        drawable = all(column.is_number for column in columns) and len(rows) > 1
        if isinstance(model, Regressor):
            target = printable(model.target.name)
            found = {name: model.predictions[name].cpu().numpy() for name in ("value", "prediction")}
            yield f"{split}_predicted_values", predicted_values(found["value"], found["prediction"], target, title)
            if drawable and len(columns) == 1:
                known = ~torch.isnan(samples.source.gather(samples.rows)[:, 0])
                x, places = rows[:, 0], spread(rows[:, 0], LINE)
                fitted = model.scale.in_units(compute(model, places[:, None])).cpu().numpy()
                y = samples.values[known].numpy()
                yield f"{split}_fitted_line", fitted_line(x, y, places, fitted, (names[0], target), title)
        elif drawable and len(columns) == 2:
            known = ~torch.isnan(samples.source.gather(samples.rows)).any(1)
            grid = spread(rows[:, 0], SIDE), spread(rows[:, 1], SIDE)
            points = np.stack([side.ravel() for side in np.meshgrid(*grid)], axis=1)
            predicted = compute(model, points).argmax(1).cpu().numpy().reshape(SIDE, SIDE)
            classes = [printable(name) for name in model.info.class_names]
            labels = samples.labels[known].numpy()
            both = (names[0], names[1])
            figure = decision_boundary(rows[:, 0], rows[:, 1], labels, grid, predicted, both, classes, title)
            yield f"{split}_decision_boundary", figure


def spread(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return values over the range of others and a little beyond."""
    room = MARGIN * (values.max() - values.min())
    return np.linspace(values.min() - room, values.max() + room, count)


@torch.no_grad()
def compute(model: Model, rows: NDArray[np.float64]) -> torch.Tensor:
    """Compute a model's outputs `(row, output)` of rows `(row, column)`."""
    was = model.training
    outputs: torch.Tensor = model.eval()(torch.from_numpy(rows).to(model.device)).float()
    model.train(was)
    return outputs
