"""ImageDataModule: images with whole-batch augmentation, the base of every data set of images."""

import hashlib
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor

from common.few import few
from common.options import configurable, option
from datamodules.augmentation.mixing import mix
from datamodules.augmentation.transforms import Step, augment, check_square, check_steps
from datamodules.base import DataModule
from datamodules.dataset import channel_statistics
from datamodules.loaders import Batch
from datamodules.names import matching, unknown_names
from datamodules.samples import Samples
from datamodules.table_info import table_info


@configurable
class ImageDataModule(DataModule):
    """Images of one data set in four disjoint splits: train, val, stack (for the meta-model) and test.

    A subclass overrides `load` alone; see `DataModule`.

    Args:
        image_size: height and width in pixels to serve images at; null keeps their own
        augmentation: what is done to training batches, such as [crop, flip]: crop (pad and cut) or resized_crop, flip
            (left to right), vertical_flip, quarter_turns (by 0, 90, 180 or 270 degrees), affine, color, trivial
            (TrivialAugment) or rand (RandAugment), cutout
        strong_augmentation: what is done instead to training images of `strong_classes`
        strong_classes: names of classes, such as rare or confused ones, that get `strong_augmentation`
        mixup: blend each training image with another one, by a share of Beta(alpha, alpha); 0 blends none
        cutmix: paste a rectangle of another training image, by an area of Beta(alpha, alpha); 0 pastes none; with
            `mixup`, each image gets one of the two
        num_workers: threads that decode image files; data sets held in memory need none after loading
    """

    image_size: int | None = option(None, "serving")
    augmentation: tuple[Step, ...] = option((), "serving")
    strong_augmentation: tuple[Step, ...] = option((), "serving")
    strong_classes: tuple[str, ...] = option((), "serving")
    mixup: float = option(0.0, "serving")
    cutmix: float = option(0.0, "serving")
    num_workers: int = option(2, "serving")

    ranges: ClassVar[dict[str, str]] = {
        **DataModule.ranges,
        "image_size": "[1, 16384]",
        "mixup": "[0, inf)",
        "cutmix": "[0, inf)",
        "num_workers": "[0, inf)",
    }
    sample_word: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps("--data.augmentation", self.augmentation)
        check_steps("--data.strong_augmentation", self.strong_augmentation)
        if bool(self.strong_augmentation) != bool(self.strong_classes):
            raise ValueError("--data.strong_augmentation and --data.strong_classes need each other")
        if self.on_device is True and self.strong_classes:
            raise ValueError(
                "--data.on_device true and --data.strong_classes exclude each other: the classes of a batch are looked "
                "at on the host"
            )
        self._generators: dict[torch.device, torch.Generator] = {}

    def input_facts(self) -> dict[str, Any]:
        """Return channels, size and statistics of the images."""
        # a misspelt class is found before training
        self._strong_labels  # noqa: B018
        mean, std, size = self.statistics(self.splits["train"])
        check_square("--data.augmentation", self.augmentation, size)
        check_square("--data.strong_augmentation", self.strong_augmentation, size)
        facts = {"in_channels": len(mean), "image_size": size, "mean": mean, "std": std}
        facts["value_range"] = self.dataset.value_range
        features = self.splits["train"].features
        if features is not None:
            # an option of the data sets that have features
            facts["table"] = table_info(features, self.dataset.columns, getattr(self, "missing", "error"), "images")
        return facts

    def statistics(self, samples: Samples) -> tuple[list[float], list[float], tuple[int, int]]:
        """Return mean and standard deviation of each channel, and the image size; see `channel_statistics`."""
        return channel_statistics(samples)

    @property
    def needs_host(self) -> bool:
        """Whether batches are looked at on the host before they go to the device."""
        return bool(self.strong_classes)

    @cached_property
    def _strong_labels(self) -> Tensor:
        names = self.dataset.class_names
        found = {name: matching(name, names) for name in map(str, self.strong_classes)}
        if unknown := [name for name, match in found.items() if match is None]:
            raise ValueError(
                f"--data.strong_classes: there is no class {unknown_names(unknown, names)} (known: {few(names, 20)})"
            )
        return torch.tensor([names.index(match) for match in found.values() if match is not None])

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Find the images that get the strong augmentation while their labels are still on the host."""
        if not self.strong_classes or not self._augments(batch):
            return batch
        return {**batch, "strong": torch.nonzero(torch.isin(batch["label"], self._strong_labels))[:, 0]}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment and mix a training batch on its device."""
        if not self._augments(batch):
            return batch
        batch = dict(batch)
        strong = batch.pop("strong", None)
        original = batch["image"]
        if self.augmentation or self.strong_classes:
            generator = self._generator(original.device)
            batch["image"] = augment(original, self.augmentation, generator)
            if strong is not None and len(strong):
                stronger = augment(original[strong], self.strong_augmentation, generator)
                batch["image"] = batch["image"].index_copy(0, strong, stronger)
        if self.mixup or self.cutmix:
            rng = np.random.default_rng(self._batch_seed("mixing"))
            targets = batch.get("target", batch["label"])
            batch["image"], batch["target"] = mix(
                batch["image"], targets, len(self.dataset.class_names), self.mixup, self.cutmix, rng
            )
        return batch

    def _augments(self, batch: Batch) -> bool:
        wanted = self.augmentation or self.strong_classes or self.mixup or self.cutmix
        return bool(wanted and "image" in batch and self.trainer and self.trainer.state.stage is RunningStage.TRAINING)

    def _batch_seed(self, use: str) -> int:
        # drawn from the number of the batch, so that a resumed run continues as if it had not stopped; and from the
        # process's, because with the shared seed alone all would draw the same crops
        assert self.trainer is not None
        numbers = (self._seed(), self.trainer.global_rank, self.trainer.fit_loop.total_batch_idx, use)
        return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest(), "little")

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device)
        return self._generators[device].manual_seed(self._batch_seed("augmentation"))
