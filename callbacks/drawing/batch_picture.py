"""A training batch as the network sees it."""

from typing import ClassVar, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from callbacks.drawing.base import Drawing, Drawn, as_pictures
from callbacks.recorder import is_rehearsal
from datamodules.image_data import ImageDataModule
from datamodules.loaders import Batch, BatchLoader
from lightning_modules.classifier import Classifier
from lightning_modules.preprocessing import Preprocessing


class BatchPicture(Drawing):
    """Draw the first training batch after augmentation, mixing and resizing, when training starts.

    The batch is made once more for the picture, from the numbers that its augmentation is drawn from: nothing is added
    to the steps.

    Args:
        images: how many images at most
    """

    subject: ClassVar[str] = "training batch"

    def __init__(self, images: int = 32) -> None:
        if images < 1:
            raise ValueError(f"the batch picture's images must be at least 1, not {images}")
        self.count = images

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if trainer.is_global_zero and isinstance(pl_module, Classifier) and not is_rehearsal(trainer):
            self._save(trainer, self.draw(trainer, pl_module))

    def draw(self, trainer: pl.Trainer, model: Classifier) -> Drawn:
        """Yield the figure."""
        from figures.gallery import gallery

        batch = first_batch(trainer, model)
        if "image" not in batch:
            raise ValueError("a stack is trained on logits: draw a batch of its members")
        images = seen_by_network(model, batch["image"][: self.count])
        data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        size = "x".join(map(str, images.shape[-2:]))
        title = f"first training batch as the network sees it: {len(images)} of {data.batch_size} images, {size} pixels"
        yield "train_batch", gallery(as_pictures(images), titles(batch, data.dataset.class_names)[: self.count], title)


def first_batch(trainer: pl.Trainer, model: Classifier) -> Batch:
    """Return the epoch's first batch of this process, augmented on its device as in the step that trains on it."""
    loader, data = trainer.train_dataloader, trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(loader, BatchLoader) or not isinstance(data, ImageDataModule):
        raise TypeError("the training data comes from no DataModule of this project")
    # Lightning sets it when the epoch starts
    loader.sampler.set_epoch(trainer.current_epoch)
    if not model.learns_from_logits:
        # a model with frozen layers is served what they give
        loader = BatchLoader(data.samples("train"), loader.sampler)
    batch = data.on_before_batch_transfer(loader.batch(next(loader.sampler.batches())), 0)
    return data.on_after_batch_transfer({name: column.to(model.device) for name, column in batch.items()}, 0)


@torch.no_grad()
def seen_by_network(model: Classifier, images: Tensor) -> Tensor:
    """Resize uint8 images as the model does, and undo its normalisation."""
    preprocessing = cast(Preprocessing, model.preprocessing)
    pixels = preprocessing(images) * (255 * preprocessing.std) + 255 * preprocessing.mean
    return pixels.round().clamp(0, 255).to(torch.uint8)


def titles(batch: Batch, class_names: list[str]) -> list[str]:
    """Name the class of each image, or the shares of the classes that were mixed."""
    from figures.style import shortened

    if "target" not in batch:
        return [shortened(class_names[label], 18) for label in batch["label"].tolist()]
    texts = []
    for row in batch["target"].float().cpu().numpy():
        order = np.argsort(-row, kind="stable")[:2]
        parts = [f"{shortened(class_names[number], 14)} {row[number]:.0%}" for number in order if row[number] >= 0.005]
        texts.append("\n".join(parts))
    return texts
