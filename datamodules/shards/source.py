"""Images of one split, gathered from its shards; every one is checked as it is read."""

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.loaders import Batch, BatchLoader
from datamodules.shards.folder import Ahead, Shelf
from datamodules.shards.layout import NUMBERS, WAY_OUT, SampleLayout
from records.damaged import DamagedFileError, damaged

# a shard that other processes remove as often as it is fetched has too little room
ATTEMPTS = 5


class ShardSource:
    """Images in shards.

    Args:
        shelf: where the shards are found
        split: the folder that they lie in
        record: of a sample
        shards: the name of each shard
        counts: the number of samples of each
        table: ids and checks of all samples, in the order of the shards; labels and moments too
        num_workers: threads that read, each from shards of its own; 0 reads in the caller's
        ahead: shards that are fetched before they are needed
    """

    name = "image"
    in_memory = False

    def __init__(
        self,
        shelf: Shelf,
        split: str,
        record: SampleLayout,
        shards: Sequence[str],
        counts: Sequence[int],
        table: dict[str, Tensor],
        num_workers: int,
        ahead: int,
    ) -> None:
        self.shelf, self.split, self.record = shelf, split, record
        self.files, self.counts = [f"{split}/{name}" for name in shards], list(counts)
        self.ids, self.labels, self.checks, self.moments = (
            table[name] for name in ("ids", "labels", "checks", "moments")
        )
        self.begins = torch.tensor([0, *counts]).cumsum(0)
        self.shard = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(list(counts)))
        self.pool = ThreadPoolExecutor(num_workers, "read") if num_workers else None
        self.ahead = Ahead(shelf, ahead) if shelf.fetches and ahead else None

    def __len__(self) -> int:
        return len(self.ids)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the images at `indices`, uint8, shape `(batch, channel, height, width)`."""
        images = np.empty((len(indices), *self.record.shape), dtype=np.uint8)
        shards = self.shard[indices]
        parts = [(number, torch.nonzero(shards == number)[:, 0].tolist()) for number in shards.unique().tolist()]
        rows = indices.tolist()

        def read(part: tuple[int, list[int]]) -> None:
            number, places = part
            self._read(number, [(rows[place], images[place]) for place in places])

        for _ in map(read, parts) if self.pool is None else self.pool.map(read, parts):
            pass
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def expect(self, indices: Tensor) -> None:
        """Say which images will be asked for from now on, so that their shards are fetched ahead.

        Args:
            indices: in their order
        """
        if self.ahead is not None:
            shards, first = np.unique(self.shard[indices].numpy(), return_index=True)
            self.ahead.expect(self.files[number] for number in shards[first.argsort()].tolist())

    def _read(self, shard: int, rows: list[tuple[int, NDArray[np.uint8]]]) -> None:
        """Read some samples of a shard into their places."""
        name = self.files[shard]
        for attempt in range(ATTEMPTS):
            path = (self.ahead or self.shelf).file(name)
            try:
                self._read_from(path, shard, rows)
            except FileNotFoundError:
                # another process has just removed it, to make room
                if attempt == ATTEMPTS - 1 or not self.shelf.fetches:
                    raise
            except DamagedFileError:
                # what was fetched may have been damaged on the way; what is there again is not asked for a third time
                if attempt or not self.shelf.again(name):
                    raise
            else:
                return

    def _read_from(self, path: Path, shard: int, rows: list[tuple[int, NDArray[np.uint8]]]) -> None:
        count, begin = self.counts[shard], int(self.begins[shard])
        head, numbers = bytearray(len(self.record.head)), bytearray(NUMBERS.size)
        file = os.open(path, os.O_RDONLY)
        try:
            for row, image in rows:
                read = os.preadv(file, [head, image.data, numbers], self.record.begin(row - begin, count))
                said = NUMBERS.pack(int(self.labels[row]), int(self.ids[row]))
                is_whole = read == self.record.size and head == self.record.head and numbers == said
                if not is_whole or zlib.crc32(image.data) != int(self.checks[row]):
                    what = f"its sample {row - begin} of {count} is not the one that was written"
                    raise damaged(path, what, WAY_OUT)
        finally:
            os.close(file)


class ShardLoader(BatchLoader):
    """Batches from shards, which are fetched ahead in the order in which the epoch needs them."""

    def _ahead(self, indices: Iterator[Tensor]) -> Iterator[Batch]:
        source = self.held.source
        if isinstance(source, ShardSource) and source.ahead is not None:
            batches = list(indices)
            source.expect(self.held.rows[torch.cat(batches)])
            indices = iter(batches)
        yield from super()._ahead(indices)
