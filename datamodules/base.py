"""DataModule: splits and loaders, shared by every data set, whatever its samples are."""

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import torch

from common.options import configurable, option
from common.ranges import check_ranges
from common.warned import warn
from datamodules.data_record import DataRecord, row_keys
from datamodules.dataset import Dataset
from datamodules.device_memory import DeviceMemory
from datamodules.files.store_files import VERSION
from datamodules.info import DataInfo
from datamodules.loaders import BatchLoader
from datamodules.names import classes_have
from datamodules.problem_options import ProblemOptions
from datamodules.provenance import Provenance, fingerprint
from datamodules.samplers import EpochSampler, Order, Sampling, choose_order
from datamodules.samples import Samples, TensorSource
from datamodules.split_options import SplitOptions, check_not_empty
from datamodules.splits import SPLITS, stratified_holdout


@configurable
class DataModule(SplitOptions, ProblemOptions, pl.LightningDataModule):
    """Samples of one data set in four disjoint splits: train, val, stack (for the meta-model) and test.

    A subclass overrides `load`. Splits are drawn once, from `split_seed`; the run's own seed changes only the order of
    the training samples and their augmentation. Copies of a sample, and samples of one group, are never divided between
    splits that are drawn. Only the training split is thinned out (but see `long_tail_in`), sampled and augmented.

    Args:
        batch_size: samples in a batch, over all processes together
        sampler: how often a class comes in an epoch: none (as often as it is), balanced (all equally often), sqrt (by
            the square root of its count), undersample (as often as the smallest)
        on_device: hold all inputs in the GPU's memory and gather batches there: auto does where they are in memory and
            take at most a quarter of what is free on the GPU, and where no class has an augmentation of its own; true
            does so whatever they take; false never. The batches are the same
    """

    batch_size: int = option(128, "serving")
    sampler: Sampling = option("none", "serving")
    on_device: bool | Literal["auto"] = option("auto", "serving")

    # what numbers its options take; those of a subclass add theirs
    ranges: ClassVar[dict[str, str]] = {"batch_size": "[1, inf)"}
    # what hands out batches
    loader_kind: ClassVar[type[BatchLoader]] = BatchLoader

    def __post_init__(self) -> None:
        # super() would call the __init__ of the options, which are set already
        pl.LightningDataModule.__init__(self)
        self.check_split_options()
        self.check_problem_options()
        check_ranges("--data", self, self.ranges)
        # lines on what the files to predict on hold, and what of them was left out
        self.predict_notes: list[str] = []
        self._served: dict[str, Samples] = {}
        self._train_loader: BatchLoader | None = None
        self._resumed: dict[str, Any] | None = None
        self._drawn_seed: int | None = None
        self._device_memory = DeviceMemory()

    # what there is

    def load(self) -> Dataset:
        """Read the data set; called once a process."""
        raise NotImplementedError(f"{type(self).__name__} must override load()")

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, read at first use."""
        return self.load()

    def share(self, dataset: Dataset) -> None:
        """Take a data set that another DataModule has read from the same place, instead of reading it again.

        Args:
            dataset: of the other one
        """
        vars(self)["dataset"] = dataset

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
        pool, held = self.hold_out(data)
        fixed = {"val": data.val, "test": data.test} | ({self.held_out: held} if held is not None else {})
        if held is not None and self.held_out == "val" and data.val is not None:
            raise ValueError(
                "--data.held_out val is in the way of the data set's own validation split: hold out for test or stack"
            )
        val_fraction = 0.0 if fixed["val"] is not None else self.val_fraction
        self.check_shares(val_fraction)
        train, val, stack = self.draw(pool, [val_fraction, self.stack_fraction], data.class_names)
        drawn = {"val": val, "stack": stack, "test": pool.subset([])}
        splits = drawn | {name: samples for name, samples in fixed.items() if samples is not None}
        splits |= {"train": self.thin_out(train, data.class_names), "test": self.thin_out_test(splits["test"])}
        return {name: splits[name] for name in SPLITS}

    def draw(self, samples: Samples, fractions: list[float], class_names: list[str]) -> list[Samples]:
        """Draw stratified holdouts from some samples; what is left over comes first.

        Args:
            samples: to draw from
            fractions: share of each class for each holdout
            class_names: for the error message
        """
        labels, how = samples.labels.numpy(), self.drawn_by(samples)
        parts = stratified_holdout(labels, fractions, self.split_seed, class_names=class_names, **how)
        return [samples.subset(part) for part in parts]

    @cached_property
    def info(self) -> DataInfo:
        """What the data knows: handed to the model by the command line."""
        names = self.dataset.class_names
        counts = torch.bincount(self.splits["train"].labels, minlength=len(names))
        if (counts == 0).any():
            empty = [name for name, count in zip(names, counts.tolist(), strict=True) if count == 0]
            left = f" without --data.leave_out_source {self.leave_out_source!r}" if self.leave_out_source else ""
            raise ValueError(f"{classes_have(empty, f'no {self.sample_word} in the training split')}{left}")
        return DataInfo(
            num_classes=len(counts),
            class_names=list(names),
            class_counts=counts.tolist(),
            ordinal=self.ordinal,
            positive=self.positive_number(names),
            specificity=self.specificity,
            **self.input_facts(),
        )

    def input_facts(self) -> dict[str, Any]:
        """Return what a model must know of its inputs, by the names of `DataInfo`."""
        raise NotImplementedError(f"{type(self).__name__} must override input_facts()")

    def fingerprint(self, split: str) -> str:
        """Name the content of a split: 16 hex digits over ids, content keys and labels."""
        samples = self.splits[split]
        return fingerprint(samples.ids, samples.keys, samples.labels)

    @cached_property
    def record(self) -> DataRecord:
        """All samples by id, content, label, group, source and split: what a later run is compared with."""
        return DataRecord.of(self)

    @cached_property
    def provenance(self) -> Provenance:
        """Which samples a model trained on this data is fitted and selected on; every checkpoint asks for it."""
        return Provenance.of_samples(fitted=[self.splits["train"]], selected=[self.splits["val"]])

    def training_notes(self) -> list[str]:
        """Say what of the data should be known before training; `inspect` and `stack` show it too."""
        return []

    def setup(self, stage: str) -> None:
        """Tell it before training."""
        if stage == "fit":
            for note in self.training_notes():
                warn(note)

    # what the loaders hand out

    @property
    def test_is_drawn(self) -> bool:
        """Whether another `split_seed` may draw other test samples."""
        return self.test_subsample != 1

    def samples(self, split: str) -> Samples:
        """Return the samples of a split: one of train, val, stack, test, predict."""
        return self._predict_samples if split == "predict" else self.splits[split]

    def serve(self, split: str, samples: Samples) -> None:
        """Let the loaders of a split hand out other samples or inputs than its own, until `stop_serving`.

        A stack trains on its bases' logits: it puts them here, and its samples are never gathered again.

        Args:
            split: one of train, val, test, predict
            samples: what to hand out
        """
        self._served[split] = samples
        if split == "train" and self._train_loader is not None:
            # a schedule that needs the number of steps has asked for it already
            self._train_loader.hand_out(samples, self._held(samples))

    def pixel_key(self, samples: Samples) -> str:
        """Name what is made of an image's content: of one content key and one of these, the pixels are the same.

        The content key stands for what is in the file or array; the size and channels that it is served at, which
        options choose, come beside it.

        Args:
            samples: images, at least one
        """
        served = samples.source.gather(samples.rows[:1])
        return f"{VERSION}: {served.dtype} {'x'.join(map(str, served.shape[1:]))}"

    def inputs(self, samples: Samples, reads: str) -> Samples:
        """Return the same samples with what a model computes on, known by the content of that.

        Args:
            samples: of this data
            reads: the batch's key for it: image or table

        Raises:
            ValueError: the data has no such inputs
        """
        if reads == "table" != samples.source.name and samples.features is not None:
            samples = samples.with_source(TensorSource(samples.features, "table"))
        if samples.source.name != reads:
            ways = {
                "table": "needs columns: --data TableData, or a Manifest with --data.features",
                "image": f"needs images, and {type(self).__name__} has none: use --model TableClassifier",
            }
            raise ValueError(f"a model on {reads}s {ways[reads]}")
        return samples if reads == "image" else replace(samples, keys=row_keys(samples.source.gather(samples.rows)))

    def texts_of(self, split: str) -> dict[float, str]:
        """Return the text of each code that stands for one in the features of a split.

        Args:
            split: one of train, val, stack, test, predict
        """
        return {code: text for column in self.dataset.columns for code, text in column.texts.items()}

    def stop_serving(self) -> None:
        """Let the loaders hand out the samples' own inputs again."""
        if self._train_loader is not None and "train" in self._served:
            samples = self.samples("train")
            self._train_loader.hand_out(samples, self._held(samples))
        self._served.clear()

    def served(self, split: str) -> Samples:
        """Return what the loaders of a split hand out."""
        # what is served may be no sample at all
        return self._served[split] if split in self._served else self.samples(split)

    def loader(self, samples: Samples, shuffle: bool = False) -> BatchLoader:
        """Build a loader of this process's share of some samples.

        Args:
            samples: what to hand out
            shuffle: draw them by `sampler` in a new order each epoch; else each once, in order

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
        sampler = EpochSampler(self.order(samples, shuffle, world_size), size, self._seed(), rank, world_size)
        return self.loader_kind(samples, sampler, self._held(samples))

    def order(self, samples: Samples, shuffle: bool, processes: int) -> Order:
        """Choose how an epoch's samples are drawn.

        Args:
            samples: what is handed out
            shuffle: by `sampler`, in a new order each epoch
            processes: that share them
        """
        return choose_order(samples.labels, shuffle, self.sampler)

    @property
    def needs_host(self) -> bool:
        """Whether batches are looked at on the host before they go to the device."""
        return False

    def _held(self, samples: Samples) -> Samples | None:
        """Return samples in the memory of the trainer's device, where `on_device` says so."""
        if self.trainer is None or self.on_device is False or self.needs_host:
            return None
        if not isinstance(samples.source, TensorSource):
            # files to predict on, whatever the training was given
            return None
        device = self.trainer.strategy.root_device
        if self.on_device is True or self._device_memory.has_room(samples.source, device):
            return self._device_memory.hold(samples, device)
        return None

    def _split_loader(self, split: str, shuffle: bool = False) -> BatchLoader:
        samples = self.served(split)
        check_not_empty(split, len(samples))
        return self.loader(samples, shuffle)

    def _seed(self) -> int:
        """Return the run's seed, the same on all processes, also where none was given."""
        if self._drawn_seed is None:
            self._drawn_seed = torch.initial_seed()
            if self.trainer is not None and self.trainer.world_size > 1:
                self._drawn_seed = int(self.trainer.strategy.broadcast(self._drawn_seed))
        return self._drawn_seed

    def train_dataloader(self) -> BatchLoader:
        """Serve training batches, shuffled."""
        # overfitting a few batches means the same ones each epoch
        overfitting = getattr(self.trainer, "overfit_batches", 0) > 0
        if self.on_device is True and not isinstance(self.samples("train").source, TensorSource):
            raise ValueError(
                "--data.on_device true needs images that are decoded once: set --data.cache ram or disk, or "
                "--data.on_device auto"
            )
        self._train_loader = self._split_loader("train", shuffle=not overfitting)
        self._train_loader.finished = self._finished_batches
        if self._resumed is not None:
            self._train_loader.load_state_dict(self._resumed)
            self._resumed = None
        return self._train_loader

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """Serve validation batches in fixed order; none if there is no validation split."""
        samples = self.served("val")
        return self.loader(samples) if len(samples) else []

    def test_dataloader(self) -> BatchLoader:
        """Serve test batches in fixed order."""
        return self._split_loader("test")

    def predict_dataloader(self) -> BatchLoader:
        """Serve batches to predict on: the data set's unlabelled samples, or else the test split."""
        return self._split_loader("predict")

    # Lightning restores loaders by itself, but not those that were asked for before it read the checkpoint, as a
    # schedule does that needs the number of steps

    def _finished_batches(self) -> int:
        # a checkpoint that is saved within a step, on an error or a signal, must not leave its batch out
        assert self.trainer is not None
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Say how far training has come in its epoch."""
        return self._train_loader.state_dict() if self._train_loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the training loader continue from there."""
        self._resumed = state_dict or None
