"""Evaluation of a model: its outputs gathered by sample, and the metrics of a whole split."""

from typing import ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from common.gather import gather_by_id
from common.lightning_seam import steps_logged
from datamodules.loaders import Batch
from lightning_modules.training.finite_loss import NotFiniteError, place, way_out


class EvaluatedModule(pl.LightningModule):
    """Keeps each batch's outputs, and computes the metrics of a split from all of them at its end.

    Averages of batches would depend on how samples fall into batches and processes, and what needs all samples (AUROC,
    calibration) has no average.

    Attributes:
        predictions: columns of the split evaluated last, of all processes: id, what is to be predicted, source where
            there are any, and the outputs
        metrics: of that split
        validated_at: after how many steps of a fit the validation split was evaluated last; None outside of a fit
        criterion: the loss; the model's
    """

    # the column of its outputs, and the metric that chooses an epoch unless an option names another one
    output: ClassVar[str] = "logits"
    monitor: ClassVar[str] = "accuracy"
    # those that are shown beside it
    shown_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "nll", "ece")
    criterion: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.predictions: dict[str, Tensor] = {}
        self.metrics: dict[str, float] = {}
        self.validated_at: int | None = None
        self._rows: list[dict[str, Tensor]] = []

    def batch_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return what is kept of a batch: its outputs beside what they are compared with, a row a sample."""
        raise NotImplementedError(f"{type(self).__name__} must override batch_rows()")

    def measured(self, rows: dict[str, Tensor]) -> dict[str, float]:
        """Compute the metrics of a split from its rows."""
        raise NotImplementedError(f"{type(self).__name__} must override measured()")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the batch's outputs."""
        self._keep(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the batch's outputs."""
        self._keep(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the batch's outputs."""
        self._keep(batch)

    def on_validation_epoch_end(self) -> None:
        """Gather and log `val/*`."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Gather and log `test/*`."""
        self._finish("test")

    def on_predict_epoch_end(self) -> None:
        """Gather the predictions."""
        self.predictions = self._gather()
        self.predictions.pop("target", None)

    def _keep(self, batch: Batch) -> None:
        self._rows.append(self.batch_rows(batch))

    def _gather(self) -> dict[str, Tensor]:
        rows, self._rows = self._rows, []
        gathered = gather_by_id({name: torch.cat([row[name] for row in rows]) for name in rows[0]})
        # metrics are computed in doubles, which Apple's devices do not have
        return {name: c.cpu() for name, c in gathered.items()} if self.device.type == "mps" else gathered

    def _finish(self, prefix: str) -> None:
        gathered = self._gather()
        if self.trainer.sanity_checking:
            return
        self.predictions = gathered
        self.validated_at = self.trainer.global_step if self.trainer.state.fn == "fit" else None
        if not torch.isfinite(gathered[self.output]).all():
            raise NotFiniteError(self._not_finite(prefix))
        self.metrics = self.measured(gathered)
        self._log_all({f"{prefix}/{name}": value for name, value in self.metrics.items()})

    def _log_all(self, values: dict[str, float]) -> None:
        # each process has all rows, so all log the same numbers
        trainer = self.trainer
        if trainer.state.fn != "fit":
            self.log_dict(values, sync_dist=True)
            return
        # self.log would build a metric object for each of them
        shown = f"val/{self.monitor}"
        self.log(shown, values[shown], prog_bar=True, logger=False, sync_dist=True)
        # double precision, as in the recorder: both must choose the same epoch
        exact = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        trainer.callback_metrics.update(exact)
        for logger in trainer.loggers:
            logger.log_metrics(values | {"epoch": trainer.current_epoch}, steps_logged(trainer))

    def _not_finite(self, split: str) -> str:
        problem = f"the {self.output} of the {split} split are not finite"
        if self.trainer.state.fn != "fit":
            return f"{problem}: evaluate an earlier checkpoint, or --trainer.precision 32-true"
        after = place(self.trainer, self.trainer.fit_loop.epoch_loop.batch_idx)
        return f"{problem} after {after}; {way_out(self.trainer)}"
