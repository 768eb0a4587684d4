"""What the project uses of Lightning that Lightning keeps to itself, in one place: a new version may change it.

The loops of `engine/`, which replace Lightning's own, use more of it.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.utilities.cloud_io import _is_local_file_protocol
from lightning.pytorch.callbacks import (
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    RichProgressBar,
    WeightAveraging,
)
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from lightning.pytorch.tuner import lr_finder
from torch import nn


def is_local(path: Any) -> bool:
    """Tell whether a path is one of this machine's file system."""
    return _is_local_file_protocol(path)


def trainer_of(module: pl.LightningModule) -> pl.Trainer | None:
    """Return the Trainer that a module is attached to; None if there is none."""
    return getattr(module, "_trainer", None)


def steps_logged(trainer: pl.Trainer) -> int:
    """Return the number of the step that metrics are logged at."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def validation_follows(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Tell whether a validation or the end of the epoch comes right after a batch."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return batch_idx + 1 == trainer.num_training_batches or loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def cluster_environment(trainer: pl.Trainer) -> ClusterEnvironment | None:
    """Return the cluster that a Trainer runs in."""
    return trainer._accelerator_connector.cluster_environment


def ignore_from_now_on(trainer: pl.Trainer, number: signal.Signals) -> None:
    """Ignore a signal, also after the fit, when Lightning puts the handlers back that it met."""
    signal.signal(number, signal.SIG_IGN)
    trainer._signal_connector._original_handlers[number] = signal.SIG_IGN


def stop_broadcasting_sigterm(trainer: pl.Trainer) -> None:
    """Keep processes from asking each other for a SIGTERM at every step, which waits for the device."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def after_epoch_is_logged(trainer: pl.Trainer, act: Callable[[], None]) -> None:
    """Call something once the metrics of an epoch of training are logged: Lightning has no hook for it.

    Args:
        trainer: about to train
        act: is called; the steps are counted as they are between two epochs
    """
    connector, loop = trainer._logger_connector, trainer.fit_loop.epoch_loop
    log = connector.update_train_epoch_metrics

    def log_and_act() -> None:
        log()
        # while it logs, Lightning counts a step less
        loop._batches_that_stepped += 1
        try:
            act()
        finally:
            loop._batches_that_stepped -= 1

    connector.update_train_epoch_metrics = log_and_act  # type: ignore[method-assign]


def log_epochs_as_before(trainer: pl.Trainer) -> None:
    """Undo `after_epoch_is_logged`."""
    vars(trainer._logger_connector).pop("update_train_epoch_metrics", None)


@contextmanager
def no_rate_bar() -> Iterator[None]:
    """Let Lightning's finder of a learning rate draw no bar."""
    bar = lr_finder.tqdm
    lr_finder.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        lr_finder.tqdm = bar


def layers_of(callback: ModelSummary, trainer: pl.Trainer, module: pl.LightningModule) -> Any:
    """Return what Lightning's table of layers counts, also where a strategy has cut the parameters into parts."""
    return callback._summary(trainer, module)


class CheckpointConnector(_CheckpointConnector):
    """Lightning's part of a Trainer that takes a checkpoint up; only one that it is given."""

    @property
    def _hpc_resume_path(self) -> None:
        """Under SLURM Lightning would take any `hpc_ckpt_*.ckpt` that it finds, also an older one or another run's."""

    @property
    def loaded(self) -> dict[str, Any]:
        """The checkpoint that was read; empty if none was."""
        return self._loaded_checkpoint

    @property
    def path(self) -> Any:
        """Where it was read from."""
        return self._ckpt_path


def use_checkpoint_connector(trainer: pl.Trainer, kind: type[CheckpointConnector]) -> None:
    """Let a Trainer take checkpoints up in another way."""
    trainer._checkpoint_connector = kind(trainer)


class RateMonitor(LearningRateMonitor):
    """Lightning's record of the learning rate, whose steps a subclass chooses."""

    def log_rates(self, trainer: pl.Trainer) -> None:
        """Log the rate of this step, unless it is logged once an epoch.

        Lightning's would also copy it to the device, and wait for that, which steps must not.
        """
        if self.logging_interval == "epoch":
            return
        configs = trainer.lr_scheduler_configs
        scheduled, seen, kinds = self._find_names_from_schedulers(configs)
        free, others = self._find_names_from_optimizers(trainer.optimizers, seen, kinds)
        self._remap_keys([*scheduled, *free])
        found: dict[str, float] = {}
        for names, config in zip(scheduled, configs, strict=True):
            if self.logging_interval == "step" or config.interval == "step":
                found |= self._get_optimizer_stats(config.scheduler.optimizer, names)
        for names, optimizer in zip(free, others, strict=True):
            found |= self._get_optimizer_stats(optimizer, names)
        for logger in trainer.loggers if found else ():
            logger.log_metrics(found, step=steps_logged(trainer))


class StateCheckpoint(ModelCheckpoint):
    """A checkpoint whose moments a subclass chooses."""

    def skips_saving(self, trainer: pl.Trainer) -> bool:
        """Tell whether Lightning would save nothing now, as in a rehearsal."""
        return self._should_skip_saving_checkpoint(trainer)

    def save_now(self, trainer: pl.Trainer, path: str) -> None:
        """Save the state of a run.

        Args:
            trainer: the run's
            path: of the checkpoint
        """
        self._save_checkpoint(trainer, path)


class AveragedWeights(WeightAveraging):
    """Lightning's copy of a model that holds its average; a subclass updates it."""

    @property
    def average(self) -> nn.Module | None:
        """The copy; None before it is made."""
        return None if self._average_model is None else self._average_model.module

    def move_average(self, device: Any) -> None:
        """Take the copy, with what Lightning counts beside it, to a device."""
        assert self._average_model is not None
        self._average_model.to(device)

    @property
    def updated_at(self) -> int:
        """The step of the last update."""
        return self._latest_update_step

    @updated_at.setter
    def updated_at(self, step: int) -> None:
        self._latest_update_step = step


class StillProgressBar(RichProgressBar):
    """Lightning's rich progress bar, without the thread that draws it."""

    def _init_progress(self, trainer: pl.Trainer) -> None:
        super()._init_progress(trainer)
        live = self.progress.live if self.progress is not None else None
        if live is not None and live._refresh_thread is not None:
            live._refresh_thread.stop()
            live._refresh_thread, live.auto_refresh = None, False
