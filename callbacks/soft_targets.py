"""SoftTargets: a student is trained on what a stack says of its images."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional

from common.few import few
from common.ranges import check_range
from datamodules.image_data import ImageDataModule
from datamodules.info import DataInfo
from datamodules.loaders import Batch
from datamodules.provenance import Provenance
from lightning_modules import Classifier
from lightning_modules.checkpoint_io import file_sha256
from lightning_modules.checkpoints import load_classifier, read_checkpoint
from records.result_files import read_predictions
from records.run_dir import of_checkpoint

# the name of a stack's held-out predictions in its files
HELD_OUT = "val"


class SoftTargets(pl.Callback):
    """Give each training image a stack's distribution over the classes as a part of its target (Hinton et al. 2015).

    The target is mixed before the loss, so that any loss for soft labels takes it: with cross-entropy this is the same
    as the sum of both cross-entropies, by their weights. The student's own logits have no temperature. Its checkpoint
    says that it has seen all that the stack has seen.

    Args:
        stack: checkpoint of a stack, with the predictions that its command has left beside it
        out_of_fold: take what the stack said of each image by members and head that had not seen it, which needs no
            run of them; false runs the whole stack on each batch as it is augmented, though it was fitted on these
        weight: share of the stack in the target; the rest is the label
        temperature: the stack's logits are divided by it; above 1 its distributions are flatter
        digest: SHA-256 of the checkpoint, which must be this one; null takes any
    """

    def __init__(
        self,
        stack: str,
        out_of_fold: bool = True,
        weight: float = 0.5,
        temperature: float = 1.0,
        digest: str | None = None,
    ) -> None:
        check_range("SoftTargets: weight", weight, "[0, 1]")
        check_range("SoftTargets: temperature", temperature, "(0, inf)")
        self.stack, self.out_of_fold, self.weight, self.temperature = Path(stack), out_of_fold, weight, temperature
        self.digest = digest
        # ids in order, and the distribution of each
        self._known: tuple[Tensor, Tensor] | None = None
        self._teacher: Classifier | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read what the stack says, and what it has seen.

        Raises:
            ValueError: it is another stack, of other classes, or does not know all training images
        """
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, ImageDataModule) or not isinstance(pl_module, Classifier):
            raise ValueError("SoftTargets needs a classifier and an ImageDataModule of this project")
        checkpoint = read_checkpoint(self.stack, mapped=True)
        if self.digest is not None and file_sha256(self.stack) != self.digest:
            raise ValueError(f"{self.stack} is another stack than when this training was planned: run distill again")
        names = DataInfo.from_plain(checkpoint["architecture"]["init_args"]["data_info"]).class_names
        if list(names) != list(pl_module.info.class_names):
            ours = few(pl_module.info.class_names, 5)
            raise ValueError(
                f"{self.stack} knows the classes {few(names, 5)}, and the student {ours}: give it the stack's data"
            )
        seen = Provenance.from_plain(checkpoint.get("provenance"), str(self.stack))
        pl_module.provenance = seen.union(pl_module.provenance)
        if not self.out_of_fold:
            self._teacher = load_classifier(self.stack).requires_grad_(False).to(pl_module.device)
            return
        if data.mixup or data.cutmix:
            raise ValueError("the stack has not seen mixed images: leave out --data.mixup and --data.cutmix")
        ids, logits = held_out_logits(self.stack, data.samples("train").ids)
        known = (logits / self.temperature).softmax(1).float()
        self._known = ids.to(pl_module.device), known.to(pl_module.device)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Mix the stack's distributions into the targets of a batch."""
        soft = self._distributions(batch)
        hard = batch["target"] if "target" in batch else functional.one_hot(batch["label"], soft.shape[1]).to(soft)
        batch["target"] = (1 - self.weight) * hard + self.weight * soft

    @torch.no_grad()
    def _distributions(self, batch: Batch) -> Tensor:
        if self._known is not None:
            ids, known = self._known
            return known[torch.searchsorted(ids, batch["id"])]
        assert self._teacher is not None
        return (self._teacher(batch["image"]).float() / self.temperature).softmax(1)


def held_out_logits(stack: Path, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Read what a stack said of images by members and a head that had not seen them.

    Args:
        stack: its checkpoint
        wanted: ids of images that must be among them, shape `(image,)`

    Returns:
        ids in order, shape `(sample,)`, and calibrated logits, float64, shape `(sample, class)`

    Raises:
        ValueError: there are none, or not of all these images
    """
    run = of_checkpoint(stack)
    found = {} if run is None else read_predictions(run.predictions)
    way_out = "the stack must be trained on the same data in mode oof, and its command run to its end"
    if f"{HELD_OUT}/id" not in found:
        raise ValueError(f"{stack}: there are no held-out predictions beside it: {way_out}")
    ids, order = found[f"{HELD_OUT}/id"].sort()
    missing = int((~torch.isin(wanted, ids)).sum())
    if missing:
        raise ValueError(
            f"{stack}: {missing:,} of {len(wanted):,} training images have no held-out prediction of it: {way_out}"
        )
    return ids, found[f"{HELD_OUT}/logits"][order].double()
