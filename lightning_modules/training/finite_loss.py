"""A loss or weights that are no longer finite: the run stops, and says where and what to do."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from datamodules.loaders import BatchLoader
from lightning_modules.checkpoint_io import read_archive
from records.damaged import DamagedFileError
from records.whole_file import shown

# ids that a message names
NAMED = 8


class NotFiniteError(ValueError):
    """Training has gone wrong beyond repair. All processes raise it alike."""

    on_all_processes = True


class LossWatch:
    """Find the first step whose loss is not finite.

    On one CPU each loss is looked at before it changes the weights. Elsewhere that would wait for the device, so the
    losses are kept there and looked at together: every so many steps, before validation, at the end of an epoch, and
    before a checkpoint is saved, which all processes reach alike.

    Attributes:
        enabled: False looks at nothing: a search for a learning rate also tries those at which training breaks
    """

    def __init__(self) -> None:
        self.enabled = True
        self.at_once = False
        self.every = 50
        # losses of the batches since the last look, up to `newest`
        self.losses: list[Tensor] = []
        self.newest = -1

    def start(self, at_once: bool, every: int) -> None:
        """Begin anew.

        Args:
            at_once: whether each loss is looked at when it is known
            every: steps between two looks, where they are not
        """
        self.at_once, self.every, self.losses = at_once, max(1, every), []

    def add(self, loss: Tensor, batch: int) -> bool:
        """Take note of a loss, and tell whether it is time for `check`.

        Args:
            loss: a scalar
            batch: its number in the epoch
        """
        if not self.enabled:
            return False
        self.newest = batch
        if self.at_once:
            if math.isfinite(loss.item()):
                return False
            self.losses.clear()
        self.losses.append(loss.detach())
        return self.at_once or len(self.losses) >= self.every

    def check(self, trainer: pl.Trainer) -> None:
        """Look at the losses since the last look.

        Raises:
            NotFiniteError: one is not finite; the message names the first one's step, its samples and the way out
        """
        losses, self.losses = self.losses, []
        if not losses:
            return
        values = torch.stack(losses).float()
        # one that is not finite on any process counts
        found = cast(Tensor, trainer.strategy.reduce((~values.isfinite()).int(), reduce_op="sum")).tolist()
        if not any(found):
            return
        first = next(number for number, count in enumerate(found) if count)
        value = values[first].item()
        # the others' may be finite where this process's is not, and the other way round
        name = "not finite" if math.isfinite(value) else str(value)
        batch = self.newest - len(losses) + 1 + first
        raise NotFiniteError(
            f"loss is {name} at {place(trainer, batch)}{samples(trainer, batch)}; {way_out(trainer)}, or look at these "
            f"images"
        )


def check_weights(parameters: Iterable[Tensor], trainer: pl.Trainer) -> None:
    """Refuse to save weights that a step has broken although its loss was finite, as gradients that overflow do.

    Raises:
        NotFiniteError: a weight is not finite
    """
    whole = [weight.detach().isfinite().all() for weight in parameters]
    if not whole:
        return
    broken = (~torch.stack(whole)).any().int()
    if cast(Tensor, trainer.strategy.reduce(broken, reduce_op="sum")).item():
        batch = trainer.fit_loop.epoch_loop.batch_idx
        raise NotFiniteError(f"weights are not finite after {place(trainer, batch)}; {way_out(trainer)}")


def place(trainer: pl.Trainer, batch: int) -> str:
    """Name the optimizer step that a batch of the current epoch belongs to, all counted from 0."""
    steps = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step
    before = steps.total.completed - steps.current.completed
    return f"step {before + batch // trainer.accumulate_grad_batches} (epoch {trainer.current_epoch}, batch {batch})"


def samples(trainer: pl.Trainer, batch: int) -> str:
    """Name the first samples of a batch of the current epoch, drawn once more: batches are not kept."""
    loader = trainer.train_dataloader
    if not isinstance(loader, BatchLoader):
        return ""
    chosen = loader.whole_batch(batch)
    count = len(chosen)
    some = chosen.subset(torch.arange(min(NAMED, count)))
    named = [f"{number} ({name})" for number, name in zip(some.ids.tolist(), some.sample_names(), strict=True)]
    return f", ids {', '.join(named)}" + (f", ... (first {NAMED} of {count})" if count > NAMED else "")


def way_out(trainer: pl.Trainer) -> str:
    """Say which checkpoint is left, and what may help."""
    paths = [
        Path(callback.dirpath) / f"{callback.filename}{callback.FILE_EXTENSION}"
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.dirpath and callback.monitor is None
    ]
    kept = "no checkpoint has been saved yet"
    for path in paths:
        if path.is_file():
            try:
                kept = f"the last good checkpoint is {shown(path)} (epoch {read_archive(path, mapped=True)['epoch']})"
            except DamagedFileError as error:
                kept = str(error)
    ways = "lower the learning rate (--model.optimizer.lr), clip gradients (--trainer.gradient_clip_val)"
    if str(trainer.precision) == "16-true":
        # in 16 bits, small squares round to 0, and optimizers divide by them
        ways = f"take --trainer.precision bf16-true or 32-true, or --model.optimizer.eps 1e-4; {ways}"
    return f"{kept}: {ways}"
