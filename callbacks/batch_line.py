"""A line before training: how many images an optimizer step has, and what that does to the learning rate."""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich import get_console

from common.few import count_of
from lightning_modules.trained_model import TrainedModel
from lightning_modules.training.rate_scaling import images_of_step


class BatchLine(Callback):
    """Print processes, the effective batch and the rule that scales the learning rate."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        images = images_of_step(trainer)
        if trainer.is_global_zero and images is not None:
            word = getattr(getattr(trainer, "datamodule", None), "sample_word", "image")
            get_console().print(told(trainer, pl_module, images, f"{word}s"), highlight=False, soft_wrap=True)


def told(trainer: pl.Trainer, module: pl.LightningModule, images: int, what: str = "images") -> str:
    """Say it.

    Args:
        trainer: about to train
        module: what it trains
        images: of an optimizer step
        what: they are
    """
    world, gathered = trainer.world_size, trainer.accumulate_grad_batches
    parts = [count_of(world, "process", "processes")]
    if world * gathered > 1:
        parts.append(f"{images // (world * gathered)} {what}")
    parts += [f"{gathered} batches accumulated"] * (gathered > 1)
    text = " x ".join(parts)
    text += f" = {images:,} {what} a step" if len(parts) > 1 else f", {images:,} {what} a step"
    if not isinstance(module, TrainedModel) or module.lr_scaling == "off":
        return f"{text}; --model.lr_scaling off"
    rule = f"--model.lr_scaling {module.lr_scaling} from --model.lr_batch {module.lr_batch:,}"
    return f"{text}; learning rate x {module.rate_factor:.4g} ({rule})"
