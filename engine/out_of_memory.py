"""What to do where memory does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl

from common.memory_errors import is_out_of_memory
from datamodules import DataModule
from lightning_modules import Model


class OutOfMemoryError(ValueError):
    """A batch needs more memory than there is."""


@contextmanager
def naming_smaller_batch(trainer: pl.Trainer, data: DataModule, model: Model) -> Iterator[None]:
    """Say what to change where a batch does not fit into memory.

    Args:
        trainer: what runs
        data: has the size of the batch
        model: has the size of its images

    Raises:
        OutOfMemoryError: it did not
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(smaller_batch(trainer, data.batch_size, model.size)) from error


def smaller_batch(trainer: pl.Trainer, batch_size: int, size: tuple[int, int]) -> str:
    """Name what to change so that a batch fits, with the numbers to use.

    Args:
        trainer: what ran
        batch_size: over all its processes
        size: height and width that images are resized to; 0 where there are none
    """
    processes = f" over {trainer.world_size} processes" if trainer.world_size > 1 else ""
    half = batch_size // 2 // trainer.world_size * trainer.world_size
    ways = []
    if half:
        ways.append(f"--data.batch_size {half}")
        if trainer.state.fn == "fit":
            steps = 2 * trainer.accumulate_grad_batches
            ways[0] += f" --trainer.accumulate_grad_batches {steps} (which keeps the effective size)"
    if "32" in str(trainer.precision):
        ways.append("--trainer.precision bf16-mixed")
    if size[0]:
        ways.append(f"a smaller --model.input_size (now {size[0]})")
    where = trainer.strategy.root_device
    return f"out of memory on {where} with --data.batch_size {batch_size}{processes}: use {', or '.join(ways)}"
