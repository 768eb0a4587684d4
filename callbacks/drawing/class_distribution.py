"""How many images each class has."""

from typing import ClassVar

import lightning.pytorch as pl
import torch

from callbacks.drawing.base import Drawing, Drawn
from callbacks.recorder import is_rehearsal
from datamodules.base import DataModule
from datamodules.splits import SPLITS


class ClassDistribution(Drawing):
    """Draw the images of each class in each split, at the end of `fit`."""

    subject: ClassVar[str] = "class distribution"

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        data = getattr(trainer, "datamodule", None)
        if trainer.is_global_zero and isinstance(data, DataModule) and not is_rehearsal(trainer):
            self._save(trainer, self.draw(data))

    def draw(self, data: DataModule) -> Drawn:
        """Yield the figure."""
        from figures.class_distribution import class_distribution

        names = data.dataset.class_names
        splits = {name: data.splits[name].labels for name in SPLITS}
        counts = {
            n: torch.bincount(labels, minlength=len(names)).tolist() for n, labels in splits.items() if len(labels)
        }
        yield "data_class_distribution", class_distribution(counts, names)
