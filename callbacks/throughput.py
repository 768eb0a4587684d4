"""Throughput: images a second, the share of time spent waiting for data, and peak memory."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from common.machine import peak_memory
from datamodules.loaders import BatchLoader


@dataclass
class Totals:
    """What some epochs came to, over all processes.

    Args:
        images: that were trained on
        seconds: spent training; validation and saving are not part of them
        waited: of these seconds, those in which training waited for its next batch
    """

    images: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, images: float, seconds: float, waited: float) -> None:
        """Add an epoch."""
        self.images, self.seconds, self.waited = self.images + images, self.seconds + seconds, self.waited + waited


class Throughput(Callback):
    """Log `speed/*` once an epoch, and keep what the run comes to for its result.json.

    Lightning's ThroughputMonitor waits for the device at every step, and needs a function for the size of batches.
    Here the loader counts what it hands out, and two clocks a training epoch are enough. The first epoch of a process
    warms up (kernels are chosen or compiled, files are not cached yet), so the run's numbers leave it out if there are
    others. A resumed run adds to what was before; an epoch that was broken off counts from where it is resumed.
    """

    def __init__(self) -> None:
        self.first, self.later, self.peak_memory = Totals(), Totals(), 0
        self._epochs = 0
        # for the epoch: the time so far, when the clock was started, and whether it runs
        self._seconds, self._since, self._running = 0.0, 0.0, False
        self._served, self._waited = 0, 0.0

    # state of a resumed run

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"first": asdict(self.first), "later": asdict(self.later), "peak_memory": self.peak_memory}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from an earlier part of the run."""
        self.first, self.later = Totals(**state_dict["first"]), Totals(**state_dict["later"])
        self.peak_memory = state_dict["peak_memory"]

    # the clock

    def _resume(self) -> None:
        self._since, self._running = time.perf_counter(), True

    def _pause(self, device: torch.device) -> None:
        if not self._running:
            return
        if device.type == "cuda":
            # its steps are queued; once an epoch this may be waited for
            torch.cuda.synchronize(device)
        self._seconds += time.perf_counter() - self._since
        self._running = False

    # fit

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave saving out of the time, also within an epoch: there is no hook after it."""
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        trainer.save_checkpoint = self._not_timed(trainer.save_checkpoint, device)  # type: ignore[method-assign]

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the Trainer save as before."""
        vars(trainer).pop("save_checkpoint", None)

    def _not_timed(self, save: Callable[..., None], device: torch.device) -> Callable[..., None]:
        def saving(*args: Any, **kwargs: Any) -> None:
            was_running = self._running
            self._pause(device)
            save(*args, **kwargs)
            if was_running:
                self._resume()

        return saving

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock: an epoch that is resumed half-way has no start of its own."""
        self._start(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start(trainer)

    def _start(self, trainer: pl.Trainer) -> None:
        loader = trainer.train_dataloader
        if isinstance(loader, BatchLoader):
            self._served, self._waited = loader.served, loader.waited
        self._seconds = 0.0
        self._resume()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock while the model is validated."""
        self._pause(pl_module.device)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on, unless the epoch's last batch is done: what follows is drawing and saving."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not trainer.is_last_batch:
            self._resume()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather the epoch's counts from all processes and log them."""
        self._pause(pl_module.device)
        loader = trainer.train_dataloader
        if not isinstance(loader, BatchLoader):
            return
        counts = [loader.served - self._served, self._seconds, loader.waited - self._waited]
        # Apple's devices have no doubles
        dtype = torch.float32 if pl_module.device.type == "mps" else torch.float64
        own = torch.tensor([*counts, peak_memory(pl_module.device)], dtype=dtype, device=pl_module.device)
        gathered = cast(Tensor, pl_module.all_gather(own))
        images, seconds, waited, memory = gathered.reshape(-1, 4).cpu().unbind(1)
        if not images.sum() or not seconds.all():
            return
        # processes work side by side: their rates add up, while the seconds of each are the same ones
        self.peak_memory = max(self.peak_memory, int(memory.max()))
        totals = self.later if self._epochs else self.first
        totals.add(float(images.sum()), float(seconds.mean()), float(waited.mean()))
        self._epochs += 1
        logged = {
            "speed/images_per_second": float((images / seconds).sum()),
            "speed/data_wait": float((waited / seconds).mean()),
            "speed/peak_memory_gb": float(memory.max()) / 1e9,
        }
        # past the metrics of the model: those are the same when a run is repeated, and a checkpoint may watch them
        for logger in trainer.loggers:
            logger.log_metrics(logged | {"epoch": trainer.current_epoch}, trainer.global_step - 1)

    def summary(self) -> dict[str, Any]:
        """Return the run's images a second, share of time waited for data, and peak memory in bytes, if it trained."""
        totals = self.later if self.later.images else self.first
        if not totals.seconds:
            return {}
        return {
            "images_per_second": round(totals.images / totals.seconds, 1),
            "data_wait": round(totals.waited / totals.seconds, 4),
            "peak_memory_bytes": self.peak_memory,
        }
