"""The learning rate of a larger batch, from that of a smaller one."""

from typing import Literal

import lightning.pytorch as pl

from common.lightning_seam import trainer_of

# linear: Goyal et al. 2017, for SGD; sqrt: Malladi et al. 2022, for Adam and its kin
Rule = Literal["off", "linear", "sqrt"]


def rate_factor(rule: Rule, batch: int, reference: int) -> float:
    """Return by what a learning rate is multiplied.

    Args:
        rule: how it grows with the batch
        batch: images of an optimizer step, over all processes and accumulated batches
        reference: the batch that the rate was chosen for

    Example:
        >>> rate_factor("linear", 512, 128), rate_factor("sqrt", 512, 128), rate_factor("off", 512, 128)
        (4.0, 2.0, 1.0)
    """
    if rule == "off":
        return 1.0
    ratio = batch / reference
    return ratio if rule == "linear" else ratio**0.5


def images_of_step(trainer: pl.Trainer) -> int | None:
    """Return the images of an optimizer step, over all processes; None where the data does not tell."""
    size = getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
    return None if size is None else int(size) * trainer.accumulate_grad_batches


def factor_of(module: pl.LightningModule, rule: Rule, reference: int) -> float:
    """Return by what the learning rate of a model is multiplied in its Trainer."""
    trainer = trainer_of(module)
    batch = None if trainer is None else images_of_step(trainer)
    return 1.0 if batch is None else rate_factor(rule, batch, reference)
