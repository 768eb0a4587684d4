"""A leaner inner loop of validation."""

from collections.abc import Iterator
from typing import Any

from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fetchers import _PrefetchDataFetcher

from datamodules.loaders import Batch
from engine.hooks import autocast, is_covered, overrides, overriding, to_device
from lightning_modules import TrainedClassifier

HOOKS = ("validation_step", "on_validation_batch_start", "on_validation_batch_end")


class LeanValidationLoop(_EvaluationLoop):
    """Do for each validation batch what Lightning's loop does, and call only hooks that are overridden."""

    _lean = False

    def on_run_start(self) -> None:
        """Find out at the start of each validation whether it can be lean, and what is to be called."""
        super().on_run_start()
        trainer = self.trainer
        # a validation step that logged would need Lightning's bookkeeping of results: the classifier's keeps logits
        self._lean = (
            is_covered(trainer)
            and type(self._data_fetcher) is _PrefetchDataFetcher
            and self.num_dataloaders == 1
            and not any(overrides(trainer.lightning_module, TrainedClassifier, hook) for hook in HOOKS)
        )
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self._starting = overriding(callbacks, "on_validation_batch_start")
        self._ending = overriding(callbacks, "on_validation_batch_end")

    def _evaluation_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int, dataloader_iter: Iterator[Any] | None
    ) -> None:
        trainer, progress = self.trainer, self.batch_progress
        if not self._lean or trainer.received_sigterm:
            super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
            return
        module, connector, results = trainer.lightning_module, trainer._logger_connector, self._results
        batch = to_device(trainer, batch)
        progress.increment_ready()
        connector.on_batch_start(batch)
        module.__dict__["_current_fx_name"] = "on_validation_batch_start"
        for callback in self._starting:
            callback.on_validation_batch_start(trainer, module, batch, batch_idx)
        progress.increment_started()
        module.__dict__["_current_fx_name"] = "validation_step"
        with autocast(trainer.precision_plugin):
            outputs = module.validation_step(batch, batch_idx)
        progress.increment_processed()
        module.__dict__["_current_fx_name"] = "on_validation_batch_end"
        for callback in self._ending:
            callback.on_validation_batch_end(trainer, module, outputs, batch, batch_idx)
        module.__dict__["_current_fx_name"] = None
        if results:
            connector.on_batch_end()
        results.batch = None
        progress.increment_completed()
        if trainer.sanity_checking:
            return
        self._has_run = True
        if results:
            connector.update_eval_step_metrics(self._seen_batches_per_dataloader[dataloader_idx])
        self._seen_batches_per_dataloader[dataloader_idx] += 1
