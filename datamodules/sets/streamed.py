"""Images in shards, for data that is larger than memory and than one disk."""

import os
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch

from common.few import count_of
from common.options import configurable, option
from common.ranges import check_range
from datamodules.augmentation.transforms import Step
from datamodules.dataset import Dataset, evenly_spaced, mean_and_std
from datamodules.held_test import HeldTest
from datamodules.loaders import BatchLoader
from datamodules.samplers import Order, choose_order
from datamodules.samples import OPTIONAL, Samples
from datamodules.shards.folder import Shelf, shelf_of
from datamodules.shards.layout import (
    DESCRIPTION,
    INDEX,
    TABLE,
    WAY_OUT,
    Description,
    SampleLayout,
    read_index,
    read_table,
)
from datamodules.shards.order import ShardOrder
from datamodules.shards.source import ShardLoader, ShardSource
from records.damaged import damaged


@configurable
class Streamed(HeldTest):
    """Images in shards, in a folder or an object store: `python train.py shards` writes them from other data.

    Labels, names, groups, sources and the keys by which an image is recognised are read at the start; images are read
    from the shards when a batch needs them, and never all held. Splits are drawn as from the data that the shards were
    written from.

    Args:
        root: folder of the shards, or an address such as s3://bucket/shards, gs://, azure://, hf:// or r2://
        cache_dir: folder that fetched shards are kept in, which the processes of a node share; $TMPDIR and the like are
            those of the node
        cache_gb: gigabytes of shards that are kept there; null takes three quarters of the room on that disk
        fetch_ahead: shards that each process fetches before it needs them
        mixed_shards: shards that the samples of a stream are mixed from at any time
        streams: parts that the shards are dealt out in, each read by one process: a multiple of the number of
            processes. The same streams give the same batches on any such number, but for the remainder of an epoch;
            null takes one for each process
    """

    root: str = "shards"
    cache_dir: str = option("runs/.cache", "reading")
    cache_gb: float | None = option(None, "reading")
    fetch_ahead: int = option(2, "serving")
    mixed_shards: int = option(8, "serving")
    streams: int | None = option(None, "serving")
    augmentation: tuple[Step, ...] = ("crop", "flip")

    loader_kind: ClassVar[type[BatchLoader]] = ShardLoader
    ranges: ClassVar[dict[str, str]] = {
        **HeldTest.ranges,
        "fetch_ahead": "[0, 1000]",
        "mixed_shards": "[1, inf)",
        "streams": "[1, inf)",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--data.cache_gb", self.cache_gb, "(0, inf)")
        if self.on_device is True:
            raise ValueError(
                "--data.on_device true holds all images, and --data Streamed never does: use auto or false"
            )

    @cached_property
    def _shelf(self) -> Shelf:
        limit = None if self.cache_gb is None else self.cache_gb * 1e9
        return shelf_of(self.root, Path(os.path.expandvars(self.cache_dir)).expanduser(), limit)

    @cached_property
    def _description(self) -> Description:
        return Description.read(self._shelf.file(DESCRIPTION))

    def load(self) -> Dataset:
        """Read the tables of all splits; images stay in their shards."""
        said = self._description
        height, width, _ = said.shape
        if self.image_size is not None and said.shape[:2] != (self.image_size, self.image_size):
            raise ValueError(
                f"--data.image_size {self.image_size} cannot be served from --data.root {self.root!r}, whose images "
                f"have {height}x{width} pixels: leave it out, or write shards of that size"
            )
        parts = {split: self._samples(split) for split in said.splits}
        train, given = self.with_test(parts["train"], parts.get("test"), said.class_names)
        return Dataset(
            train,
            given,
            list(said.class_names),
            parts.get("val"),
            tuple(said.source_names),
            tuple(said.skipped),
            dict(said.left_out),
            tuple(said.notes),
            said.values,
            said.value_range,
            said.named_groups,
            said.read_columns,
        )

    def _samples(self, split: str) -> Samples:
        said, shelf = self._description, self._shelf
        record = SampleLayout(said.shape)
        index = shelf.file(f"{split}/{INDEX}")
        names, counts = read_index(index, record)
        table, sample_names = read_table(shelf.file(f"{split}/{TABLE}"), said.splits[split], said)
        if sum(counts) != len(sample_names):
            what = f"it lists {sum(counts):,} samples, and {TABLE} {len(sample_names):,}"
            raise damaged(index, what, WAY_OUT)
        sizes = {name: record.begin(count, count) for name, count in zip(names, counts, strict=True)}
        if shelf.fetches:
            self._check_room(max(sizes.values()))
        shelf.expect_sizes(split, sizes)
        source = ShardSource(shelf, split, record, names, counts, table, self.num_workers, self.fetch_ahead)
        columns = {name: table[name] for name in OPTIONAL if name in table}
        rows = torch.arange(len(sample_names))
        samples = Samples(source, rows, table["labels"], table["ids"], table["keys"], sample_names, **columns)
        return samples.subset(table["order"])

    def _check_room(self, shard: int) -> None:
        needed = (self.mixed_shards + 1 + self.fetch_ahead) * shard
        if self.cache_gb is not None and needed > self.cache_gb * 1e9:
            raise ValueError(
                f"--data.cache_gb {self.cache_gb:g} is less than what one process has open: --data.mixed_shards "
                f"{self.mixed_shards} and --data.fetch_ahead {self.fetch_ahead} of {shard / 1e6:.0f} MB take "
                f"{needed / 1e9:.3g} GB: raise it, or lower these"
            )

    def order(self, samples: Samples, shuffle: bool, processes: int) -> Order:
        """Draw samples shard by shard; those that are served from elsewhere, as they are anywhere."""
        source = samples.source
        if not isinstance(source, ShardSource):
            return super().order(samples, shuffle, processes)
        streams = (self.streams or processes) if shuffle else processes
        if streams % processes:
            raise ValueError(
                f"--data.streams {streams} cannot be dealt out to {count_of(processes, 'process', 'processes')}: use a "
                f"multiple of {processes}"
            )
        chosen = choose_order(samples.labels, shuffle, self.sampler)
        return ShardOrder(chosen, source.shard[samples.rows], streams, self.mixed_shards if shuffle else 0)

    def pixel_key(self, samples: Samples) -> str:
        """Name what was made of an image's content when the shards were written: that of the data they are from."""
        return self._description.pixel_key

    def statistics(self, samples: Samples) -> tuple[list[float], list[float], tuple[int, int]]:
        """Return what `channel_statistics` would, from what was noted of each image as it was written."""
        source = samples.source
        assert isinstance(source, ShardSource)
        height, width, channels = self._description.shape
        mean, square = source.moments[evenly_spaced(samples)].mean(0).split(channels)
        return *mean_and_std(mean, square), (height, width)
