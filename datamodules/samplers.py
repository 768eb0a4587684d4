"""Which samples make up each batch of an epoch, on each process."""

from collections.abc import Iterator

import torch
from torch import Tensor


class EpochSampler:
    """Index batches of one epoch for one process: every sample once over all processes, no padding.

    Lightning calls `set_epoch` at the start of each epoch. All processes draw the same permutation from seed + epoch
    and take their own part of each global batch. Every process has the same number of batches, because one that
    finished early would leave the others waiting in a collective.

    Args:
        size: number of samples in the split
        batch_size: samples in a batch over all processes together
        shuffle: a new permutation each epoch; False keeps the order
        seed: of the permutations, the same on all processes
        rank: number of this process
        world_size: number of processes
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int, rank: int, world_size: int) -> None:
        if size == 0:
            raise ValueError("there is no sample in this split: set its fraction above 0, or give it images")
        if size < world_size:
            raise ValueError(f"{size} sample(s) cannot be shared by {world_size} processes: use fewer devices")
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose permutation comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        batches, rest = divmod(self.size, self.batch_size)
        # BatchNorm cannot be trained on one sample, so a remainder that small joins the batch before it
        smallest = 2 * self.world_size if self.shuffle else self.world_size
        return batches + (rest >= smallest) if batches else 1

    def __iter__(self) -> Iterator[Tensor]:
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
            order = torch.randperm(self.size, generator=generator)
        else:
            order = torch.arange(self.size)
        last = len(self) - 1
        for number in range(last + 1):
            end = self.size if number == last else (number + 1) * self.batch_size
            yield order[number * self.batch_size + self.rank : end : self.world_size]
