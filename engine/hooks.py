"""What a fit asks of the loops: which hooks are overridden, and whether our loops cover them."""

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy

from datamodules import DataModule
from datamodules.loaders import Batch
from lightning_modules import TrainedModel

# hooks in the middle of a step; a class that overrides one of these gets Lightning's own loop
CALLBACK_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
MODULE_HOOKS = (
    *CALLBACK_HOOKS,
    "on_train_batch_start",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "lr_scheduler_step",
    "configure_gradient_clipping",
)


def is_covered(trainer: pl.Trainer) -> bool:
    """Tell whether the lean loop does all that a fit asks for."""
    module, optimizers = trainer.lightning_module, trainer.optimizers
    precision = trainer.precision_plugin
    scaled = type(precision) is MixedPrecision and precision.scaler is not None
    return (
        module.automatic_optimization
        and len(optimizers) == 1
        and not overrides(optimizers[0], torch.optim.Optimizer, "zero_grad")
        and inspect.signature(optimizers[0].step).parameters["closure"].default is None
        and trainer.accumulate_grad_batches == 1
        and type(trainer.strategy) is SingleDeviceStrategy
        and type(precision) in (Precision, MixedPrecision)
        and not scaled
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
        and isinstance(trainer.datamodule, DataModule)  # type: ignore[attr-defined]
        and not overrides(trainer.datamodule, pl.LightningDataModule, "transfer_batch_to_device")  # type: ignore[attr-defined]
        and isinstance(module, TrainedModel)
        # another one might return a dict, or nothing
        and not overrides(module, TrainedModel, "training_step")
        and not any(overrides(module, pl.LightningModule, hook) for hook in MODULE_HOOKS)
        and not any(overriding(trainer.callbacks, hook) for hook in CALLBACK_HOOKS)  # type: ignore[attr-defined]
    )


def overrides(instance: Any, base: type, hook: str) -> bool:
    """Tell whether an object has a hook of its own, by its class or set on itself."""
    return hook in vars(instance) or getattr(type(instance), hook) is not getattr(base, hook)


def overriding(callbacks: list[Callback], hook: str) -> list[Callback]:
    """Return those callbacks that have a hook of their own."""
    return [callback for callback in callbacks if overrides(callback, Callback, hook)]


def saves_at_epoch_ends(callback: Callback) -> bool:
    """Tell whether a checkpoint callback has nothing to do after a batch."""
    if type(callback) is not ModelCheckpoint:
        return False
    return callback._every_n_train_steps < 1 and callback._train_time_interval is None


def autocast(precision: Precision) -> AbstractContextManager[Any]:
    """Return what a forward pass is computed in."""
    return precision.forward_context() if isinstance(precision, MixedPrecision) else nullcontext()


def to_device(trainer: pl.Trainer, batch: Batch) -> Batch:
    """Hand a batch to the device, and let the DataModule do there what it does."""
    data, device = trainer.datamodule, trainer.strategy.root_device  # type: ignore[attr-defined]
    batch = data.on_before_batch_transfer(batch, 0)
    if device.type != "cpu":
        batch = {name: column.to(device, non_blocking=device.type == "cuda") for name, column in batch.items()}
    return data.on_after_batch_transfer(batch, 0)
