"""ImageDataModule: splits, loaders and whole-batch augmentation, shared by every data set."""

from dataclasses import dataclass
from functools import cached_property

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from datamodules.info import DataInfo
from datamodules.loaders import Batch, BatchLoader
from datamodules.provenance import Provenance, array_keys, fingerprint, sample_ids
from datamodules.samplers import EpochSampler
from datamodules.samples import Samples, TensorSource
from datamodules.splits import stratified_holdout
from datamodules.transforms import Augmentation, augment

SPLITS = ("train", "val", "stack", "test")


@dataclass(frozen=True)
class Dataset:
    """What a data set's own class loads; the base class splits and serves it.

    Args:
        train: samples to split
        test: the official test samples
        class_names: the name of each class, in label order
        val: the official validation samples; None draws them from `train`
    """

    train: Samples
    test: Samples
    class_names: list[str]
    val: Samples | None = None


@dataclass(eq=False, kw_only=True, repr=False)
class ImageDataModule(pl.LightningDataModule):
    """Samples of one data set in four disjoint splits: train, val, stack (for the meta-model) and test.

    A subclass overrides `load` alone. Splits are drawn once, from `split_seed`; the run's own seed changes only the
    order of the training samples and their augmentation.

    Args:
        batch_size: samples in a batch, over all processes together
        val_fraction: share of the training samples held out for validation, stratified; ignored where the data set
            brings a validation split of its own
        stack_fraction: share of the training samples held out for the meta-model of a stack, stratified
        split_seed: names the draw of the held-out samples; keep it the same for all members of a stack
        image_size: height and width in pixels to serve images at; null keeps their own
        augmentation: what is done to training batches: none, crop (pad and cut), crop_flip, crop_flip_cutout
        num_workers: threads that decode image files; data sets held in memory need none after loading
    """

    batch_size: int = 128
    val_fraction: float = 0.1
    stack_fraction: float = 0.0
    split_seed: int = 0
    image_size: int | None = None
    augmentation: Augmentation = "none"
    num_workers: int = 2

    def __post_init__(self) -> None:
        super().__init__()
        if self.batch_size < 1:
            raise ValueError(f"--data.batch_size must be at least 1, not {self.batch_size}")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"--data.image_size must be at least 1, not {self.image_size}")
        for name in ("val_fraction", "stack_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--data.{name} must be in [0, 1), not {getattr(self, name)}")
        if self.num_workers < 0:
            raise ValueError(f"--data.num_workers must be at least 0, not {self.num_workers}")
        self._served: dict[str, Samples] = {}
        self._generators: dict[torch.device, torch.Generator] = {}

    def load(self) -> Dataset:
        """Read the data set; called once a process."""
        raise NotImplementedError(f"{type(self).__name__} must override load()")

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, read at first use."""
        return self.load()

    def load_predict(self) -> Samples | None:
        """Read samples without labels for `predict`; None predicts on the test split."""
        return None

    @cached_property
    def _predict_samples(self) -> Samples:
        return self.load_predict() or self.splits["test"]

    @cached_property
    def splits(self) -> dict[str, Samples]:
        """Samples of each split by name; `stack` and `val` may be empty."""
        data = self.dataset
        val_fraction = 0.0 if data.val is not None else self.val_fraction
        train, val, stack = (
            data.train.subset(indices)
            for indices in stratified_holdout(
                data.train.labels.numpy(),
                [val_fraction, self.stack_fraction],
                self.split_seed,
                data.train.keys.numpy(),
                data.class_names,
            )
        )
        return {"train": train, "val": data.val or val, "stack": stack, "test": data.test}

    @cached_property
    def info(self) -> DataInfo:
        """What the data knows: handed to the model by the command line."""
        train = self.splits["train"]
        counts = torch.bincount(train.labels, minlength=len(self.dataset.class_names))
        if (counts == 0).any():
            empty = [n for n, c in zip(self.dataset.class_names, counts.tolist(), strict=True) if c == 0]
            raise ValueError(f"class {empty[0]!r} has no image in the training split")
        mean, std, size = channel_statistics(train)
        return DataInfo(
            num_classes=len(counts),
            in_channels=len(mean),
            image_size=size,
            class_names=list(self.dataset.class_names),
            class_counts=counts.tolist(),
            mean=mean,
            std=std,
        )

    def fingerprint(self, split: str) -> str:
        """Name the content of a split: 16 hex digits over ids, content keys and labels."""
        samples = self.splits[split]
        return fingerprint(samples.ids, samples.keys, samples.labels)

    def provenance(self) -> Provenance:
        """Return which samples a model trained on this data is fitted and selected on."""
        return Provenance.of([self.splits["train"].keys], [self.splits["val"].keys])

    def samples(self, split: str) -> Samples:
        """Return the samples of a split: one of train, val, stack, test, predict."""
        return self._predict_samples if split == "predict" else self.splits[split]

    def serve(self, split: str, samples: Samples) -> None:
        """Let the loaders of a split hand out other samples or inputs than its images, until `stop_serving`.

        A stack trains on its bases' logits: it puts them here, and images are never gathered again.

        Args:
            split: one of train, val, test, predict
            samples: what to hand out
        """
        self._served[split] = samples

    def stop_serving(self) -> None:
        """Let the loaders hand out images again."""
        self._served.clear()

    def served(self, split: str) -> Samples:
        """Return what the loaders of a split hand out."""
        return self._served.get(split) or self.samples(split)

    def loader(self, samples: Samples, shuffle: bool = False) -> BatchLoader:
        """Build a loader of this process's share of some samples.

        Args:
            samples: what to hand out
            shuffle: a new order each epoch

        Raises:
            ValueError: the batch size cannot be shared out evenly
        """
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        size = self.batch_size
        if size % world_size:
            low = size // world_size * world_size
            raise ValueError(
                f"--data.batch_size {size} is over all processes and cannot be divided by {world_size}: "
                f"use {low or world_size} or {low + world_size}"
            )
        # the same on all processes, because Lightning seeds each with the same number
        seed = torch.initial_seed()
        return BatchLoader(samples, EpochSampler(len(samples), size, shuffle, seed, rank, world_size))

    def train_dataloader(self) -> BatchLoader:
        """Serve training batches, shuffled."""
        # overfitting a few batches means the same ones each epoch
        overfitting = getattr(self.trainer, "overfit_batches", 0) > 0
        return self.loader(self.served("train"), shuffle=not overfitting)

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """Serve validation batches in fixed order; none if there is no validation split."""
        samples = self.served("val")
        return self.loader(samples) if len(samples) else []

    def test_dataloader(self) -> BatchLoader:
        """Serve test batches in fixed order."""
        return self.loader(self.served("test"))

    def predict_dataloader(self) -> BatchLoader:
        """Serve batches to predict on: the data set's unlabelled samples, or else the test split."""
        return self.loader(self.served("predict"))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch on its device."""
        if self.augmentation == "none" or "image" not in batch or not (self.trainer and self.trainer.training):
            return batch
        image = batch["image"]
        return {**batch, "image": augment(image, self.augmentation, self._generator(image.device))}

    def _generator(self, device: torch.device) -> torch.Generator:
        # one stream a process: with the shared seed alone, all ranks would draw the same crops
        if device not in self._generators:
            rank = self.trainer.global_rank if self.trainer else 0
            seed = (torch.initial_seed() * 1_000_003 + rank) % 2**63
            self._generators[device] = torch.Generator(device).manual_seed(seed)
        return self._generators[device]


def channel_statistics(samples: Samples, limit: int = 10_000) -> tuple[list[float], list[float], tuple[int, int]]:
    """Mean and standard deviation of each channel on the scale [0, 1], and the image size.

    Args:
        samples: the training split
        limit: use at most this many samples, evenly spaced

    Returns:
        means `(channel,)`, standard deviations `(channel,)`, (height, width)
    """
    step = max(1, len(samples) // limit)
    rows = samples.rows[::step][:limit]
    total = square = torch.zeros(())
    count = 0
    for chunk in rows.split(1000):
        images = samples.source.gather(chunk).float().div_(255)
        total = total + images.sum((0, 2, 3), dtype=torch.float64)
        square = square + images.square().sum((0, 2, 3), dtype=torch.float64)
        count += images.numel() // images.shape[1]
        size = (images.shape[2], images.shape[3])
    mean = total / count
    std = (square / count - mean**2).clamp(min=0).sqrt()
    # a constant channel would be divided by zero
    std = torch.where(std > 1e-4, std, torch.ones(()))
    return [round(v, 6) for v in mean.tolist()], [round(v, 6) for v in std.tolist()], size


def array_dataset(
    arrays: dict[str, tuple[np.ndarray, np.ndarray]], class_names: list[str], image_size: int | None
) -> Dataset:
    """Build a data set from images in memory.

    Args:
        arrays: `train`, `test` and perhaps `val`: uint8 images `(sample, height, width, channel)` and their labels
            `(sample,)`
        class_names: the name of each class, in label order
        image_size: height and width in pixels to resize to; None keeps the images' own
    """
    parts: dict[str, Samples] = {}
    for split, (images, labels) in arrays.items():
        names = [f"{split}/{number}" for number in range(len(images))]
        tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        parts[split] = Samples(
            TensorSource(resize(tensor, image_size)),
            torch.arange(len(images)),
            torch.from_numpy(labels.astype(np.int64)),
            sample_ids(names),
            array_keys(images),
            names,
        )
    return Dataset(parts["train"], parts["test"], class_names, parts.get("val"))


def resize(images: Tensor, size: int | None) -> Tensor:
    """Resize uint8 images to a square with antialiasing.

    Args:
        images: shape `(sample, channel, height, width)`
        size: height and width in pixels; None, or the size they have, returns them as they are
    """
    if size is None or images.shape[-2:] == (size, size):
        return images
    chunks = (
        torch.nn.functional.interpolate(c.float(), (size, size), mode="bilinear", antialias=True).round_()
        for c in images.split(1024)
    )
    return torch.cat([c.clamp_(0, 255).to(torch.uint8) for c in chunks])
