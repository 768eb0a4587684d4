"""A leaner inner loop of training, for small models whose step is as short as what Lightning does around it."""

from typing import Any, cast

import lightning
import lightning.pytorch as pl
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.combined_loader import _MaxSizeCycle

from datamodules.loaders import Batch
from engine.hooks import autocast, is_covered, overrides, overriding, saves_at_epoch_ends, to_device
from engine.validation_loop import LeanValidationLoop
from lightning_modules import TrainedClassifier

# the minor version of Lightning whose loops these take the place of, and with which the suite ran
TESTED = "2.6."


class LeanEpochLoop(_TrainingEpochLoop):
    """Do in each step what Lightning's loop does, and call only hooks that are overridden.

    Lightning calls some twenty hooks a step, each of all callbacks and each within a profiler, and looks at signatures
    and empty results, which small models notice (benchmarks/framework_tax.py). What this loop does not cover is left to
    Lightning's: several processes, accumulated gradients, scaled gradients, profilers, optimizers that call the step
    themselves, training steps other than the classifier's, and hooks in the middle of a step.
    """

    _lean = False

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """Find out at the start of each epoch whether it can be lean, and what is to be called."""
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        loaders = getattr(data_fetcher.iterator, "_iterator", None)
        self._lean = (
            is_covered(trainer)
            and type(data_fetcher) is _PrefetchDataFetcher
            and data_fetcher.length is not None
            and type(loaders) is _MaxSizeCycle
            and len(loaders.iterators) == 1
        )
        if not self._lean:
            return
        self._batches = cast(_MaxSizeCycle, loaders).iterators[0]
        starting = overriding(trainer.callbacks, "on_train_batch_start")  # type: ignore[attr-defined]
        # callbacks that only log have nothing to do in steps without logging
        self._starting = [callback for callback in starting if type(callback) is not LearningRateMonitor]
        self._starting_to_log = starting
        self._log_every = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        ending = overriding(trainer.callbacks, "on_train_batch_end")  # type: ignore[attr-defined]
        self._ending = [callback for callback in ending if not saves_at_epoch_ends(callback)]
        configs = trainer.lr_scheduler_configs
        plain = all(c.interval == "step" and c.frequency == 1 and not c.reduce_on_plateau for c in configs)
        # schedules that move in each step; with others, Lightning's loop is used for them
        self._schedulers = [config.scheduler for config in configs] if plain else None
        self._module_ends = overrides(trainer.lightning_module, pl.LightningModule, "on_train_batch_end")

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Train on one batch."""
        if not self._lean or self.restarting:
            super().advance(data_fetcher)
            return
        trainer, module = self.trainer, self.trainer.lightning_module
        connector, results = trainer._logger_connector, self._results
        batch = next(self._batches)
        data_fetcher.fetched += 1
        data_fetcher.done = data_fetcher.fetched >= cast(int, data_fetcher.length)
        batch_idx = self.batch_idx + 1
        progress = self.batch_progress
        progress.is_last_batch = data_fetcher.done
        batch = to_device(trainer, batch)
        progress.increment_ready()
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None
        # Lightning keeps what is logged in different hooks apart by their names
        module.__dict__["_current_fx_name"] = "on_train_batch_start"
        logs_now = (self._batches_that_stepped + 1) % self._log_every == 0 or trainer.should_stop
        for callback in self._starting_to_log if logs_now else self._starting:
            callback.on_train_batch_start(trainer, module, batch, batch_idx)
        progress.increment_started()
        outputs = self._step(cast(TrainedClassifier, module), batch, batch_idx)
        progress.increment_processed()
        self._move_rates()
        module.__dict__["_current_fx_name"] = "on_train_batch_end"
        for callback in self._ending:
            callback.on_train_batch_end(trainer, module, outputs, batch, batch_idx)
        if self._module_ends:
            module.on_train_batch_end(outputs, batch, batch_idx)
        module.__dict__["_current_fx_name"] = None
        logs = any(metric.meta.on_step for metric in results.values())
        if logs:
            connector.on_batch_end()
        results.batch = None
        progress.increment_completed()
        if logs:
            connector.update_train_step_metrics()

    def _step(self, module: TrainedClassifier, batch: Batch, batch_idx: int) -> dict[str, Any]:
        trainer = self.trainer
        optimizer, done = trainer.optimizers[0], self.automatic_optimization.optim_progress.optimizer
        done.step.increment_ready()
        done.zero_grad.increment_ready()
        done.zero_grad.increment_started()
        # Lightning frees the last gradients after the forward pass, which then finds less memory
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = None
        done.zero_grad.increment_completed()
        module.__dict__["_current_fx_name"] = "training_step"
        with autocast(trainer.precision_plugin):
            loss = module.training_step(batch, batch_idx)
        module.__dict__["_current_fx_name"] = None
        loss.backward()
        if trainer.gradient_clip_val:
            module.configure_gradient_clipping(
                optimizer,
                trainer.gradient_clip_val,
                trainer.gradient_clip_algorithm,
            )
        optimizer.step()
        done.step.increment_completed()
        return {"loss": loss.detach()}

    def _move_rates(self) -> None:
        if self._schedulers is None:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if self._num_ready_batches_reached():
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
            return
        for scheduler in self._schedulers:
            self.scheduler_progress.increment_ready()
            scheduler.step()
            self.scheduler_progress.increment_completed()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Validate, if it is time."""
        trainer = self.trainer
        # whenever validation might come Lightning's loop decides
        every, batches = trainer.val_check_batch, self.batch_progress
        done = batches.total.ready if trainer.check_val_every_n_epoch is None else batches.current.ready
        timed = trainer._val_check_time_interval is not None  # type: ignore[attr-defined]
        may_validate = data_fetcher.done or timed or done % (every or 1) == 0
        if not self._lean or self._skip_next_val or may_validate or trainer.should_stop or trainer.received_sigterm:
            super().on_advance_end(data_fetcher)
            return
        if self._schedulers is None:
            self.update_lr_schedulers("step", update_plateau_schedulers=True)
        self._batches_that_stepped += 1


class FitLoop(_FitLoop):
    """Go on from the end of an epoch in a run that is limited by steps as in one that is limited by epochs.

    Lightning takes every resumed run with `max_steps` for one that stopped within an epoch: at an epoch's end it would
    end that epoch twice and leave the next one's order of samples out.
    """

    @property
    def restarting(self) -> bool:
        """Whether an unfinished epoch is continued."""
        return self._restarting

    @restarting.setter
    def restarting(self, restarting: bool) -> None:
        now = self.epoch_progress.current
        _Loop.restarting.fset(self, restarting and not now.ready == now.started == now.processed)  # type: ignore[attr-defined]


def use_lean_loop(trainer: pl.Trainer) -> None:
    """Put our loops in the place of Lightning's, if this is a version that they were tested with.

    Args:
        trainer: that has not begun
    """
    if not lightning.__version__.startswith(TESTED):
        rank_zero_info(
            f"Lightning's own training loops are used: the faster ones of this project are for version {TESTED}x, and "
            f"this is {lightning.__version__}"
        )
        return
    stock, inner = trainer.fit_loop, trainer.fit_loop.epoch_loop
    trainer.fit_loop = FitLoop(trainer, min_epochs=stock.min_epochs, max_epochs=stock.max_epochs)
    loop = LeanEpochLoop(trainer, min_steps=inner.min_steps, max_steps=inner.max_steps)
    validation = inner.val_loop
    loop.val_loop = LeanValidationLoop(
        trainer,
        validation._trainer_fn,
        validation._stage,
        verbose=validation.verbose,
        inference_mode=validation.inference_mode,
    )
    trainer.fit_loop.epoch_loop = loop
