"""Regressor: a model that predicts a number, standardised in training and reported in its own units."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from common.options import configurable, option
from datamodules.base import DataModule
from datamodules.loaders import Batch
from datamodules.table_info import Column
from datamodules.value_table import ValueTable
from lightning_modules.trained_model import TrainedModel
from lightning_modules.training.epoch_sums import EpochSums
from measures.regression import regression_intervals, regression_metrics

LOSSES = {"mse": nn.MSELoss, "mae": nn.L1Loss, "huber": nn.HuberLoss}


class TargetScale(nn.Module):
    """The scale of a target, which is part of a model's weights.

    Args:
        target: with the mean and deviation of the training split
    """

    mean: Tensor
    std: Tensor

    def __init__(self, target: Column) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(target.mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(target.std, dtype=torch.float64))

    def standardised(self, values: Tensor) -> Tensor:
        """Return values on the scale of the training."""
        return (values - self.mean) / self.std

    def in_units(self, outputs: Tensor) -> Tensor:
        """Turn outputs `(batch, 1)` into predictions `(batch,)` in the units of the target, float64."""
        return outputs[:, 0].double() * self.std + self.mean


@configurable
class Regressor(TrainedModel):
    """A model that predicts a number, and is trained in epochs.

    Args:
        loss: what is minimised over standardised numbers: mse (the mean square of the errors), mae (their mean size) or
            huber (squares of small ones, sizes of large ones)
    """

    loss: Literal["mse", "mae", "huber"] = option("mse", "training")

    output: ClassVar[str] = "prediction"
    monitor: ClassVar[str] = "mse"
    shown_metrics: ClassVar[tuple[str, ...]] = ("mse", "mae", "r2")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.criterion = LOSSES[self.loss]()

    @property
    def target(self) -> Column:
        """What it predicts, with the mean and deviation of the training split."""
        target = None if self.info.table is None else self.info.table.target
        if target is None:
            raise ValueError(
                f"--model {type(self).__name__} predicts a number, and the data has classes: set --data.task regression"
            )
        return target

    def build(self) -> None:
        """Keep the scale of the target among the weights."""
        super().build()
        self.scale = TargetScale(self.target)

    # steps

    def batch_loss(self, batch: Batch, sums: EpochSums) -> Tensor:
        """Return the mean loss of a batch on the scale of the training."""
        outputs = self(batch[self.reads])[:, 0].float()
        loss: Tensor = self.criterion(outputs, self.scale.standardised(batch["value"]).float())
        sums.add_loss(loss, len(outputs))
        return loss

    # evaluation

    def batch_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return the predictions of a batch beside what they are compared with."""
        kept = {name: batch[name] for name in ("id", "source", "value") if name in batch}
        return kept | {"prediction": self.scale.in_units(self(batch[self.reads]))}

    def measured(self, rows: dict[str, Tensor]) -> dict[str, float]:
        """Compute the metrics of a split in the units of the target; the loss is on the scale of the training."""
        predictions, values = rows["prediction"], rows["value"]
        loss = self.criterion(self.scale.standardised(predictions), self.scale.standardised(values))
        return regression_metrics(predictions, values) | {"loss": float(loss)}

    def evaluation_entries(self, split: str, data: DataModule, rows: dict[str, Tensor]) -> dict[str, Any]:
        """Return the intervals of the metrics."""
        found = regression_intervals(rows["prediction"], rows["value"], rows.get("group"))
        return {f"{split}_intervals": found}

    @property
    def result_facts(self) -> dict[str, Any]:
        """Say what is predicted: a number, and no class."""
        return {**super().result_facts, "class_names": [], "target": self.target.name}

    def prediction_table(self, data: DataModule, split: str) -> ValueTable:
        """Return what was predicted last, as a table.

        Args:
            data: that was predicted on
            split: of the data
        """
        rows = self.predictions
        return ValueTable(data.served(split), rows["id"], rows["prediction"], self.target.name)
