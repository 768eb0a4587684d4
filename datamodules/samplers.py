"""Which samples make up each batch of an epoch, on each process."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Generator, Tensor

Sampling = Literal["none", "balanced", "sqrt", "undersample"]


class Order(Protocol):
    """The samples of an epoch: the same number each time, drawn anew.

    Args:
        chosen_by: options of this order beside the sampler, for messages
    """

    chosen_by: ClassVar[tuple[str, ...]]

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""

    def draw(self, generator: Generator) -> Tensor:
        """Return the indices of one epoch, int64, shape `(sample,)`."""


@dataclass(frozen=True)
class InOrder:
    """Every sample once, always in the same order.

    Args:
        size: number of samples
    """

    size: int

    chosen_by: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return self.size

    def draw(self, generator: Generator) -> Tensor:
        """Return the indices of one epoch, int64, shape `(sample,)`."""
        return torch.arange(self.size)


@dataclass(frozen=True)
class Shuffled(InOrder):
    """Every sample once, in a new order each epoch."""

    def draw(self, generator: Generator) -> Tensor:
        """Return the indices of one epoch, int64, shape `(sample,)`."""
        return torch.randperm(self.size, generator=generator)


class ClassSampled:
    """A chosen number of samples of each class, in a new order each epoch.

    Within a class no sample comes a second time before all others came once.

    Args:
        labels: class of each sample, int64, shape `(sample,)`
        sampling: `balanced` and `sqrt` keep the length of the epoch, and take each class equally often, or in
            proportion to the square root of its count; `undersample` takes as many of each class as the smallest has
    """

    chosen_by: ClassVar[tuple[str, ...]] = ()

    def __init__(self, labels: Tensor, sampling: Sampling) -> None:
        self.members = [torch.nonzero(labels == label)[:, 0] for label in labels.unique().tolist()]
        counts = torch.tensor([len(members) for members in self.members], dtype=torch.float64)
        if sampling == "undersample":
            share = counts.min().expand(len(counts))
        else:
            share = counts.sqrt() if sampling == "sqrt" else torch.ones_like(counts)
            share = share / share.sum() * counts.sum()
        self.wanted: list[int] = share.round().clamp(min=1).long().tolist()

    def __len__(self) -> int:
        return sum(self.wanted)

    def draw(self, generator: Generator) -> Tensor:
        """Return the indices of one epoch, int64, shape `(sample,)`."""
        chosen = []
        for members, wanted in zip(self.members, self.wanted, strict=True):
            passes = -(-wanted // len(members))
            turns = [torch.randperm(len(members), generator=generator) for _ in range(passes)]
            chosen.append(members[torch.cat(turns)[:wanted]])
        drawn = torch.cat(chosen)
        return drawn[torch.randperm(len(drawn), generator=generator)]


def choose_order(labels: Tensor, shuffle: bool, sampling: Sampling) -> Order:
    """Choose how an epoch's samples are drawn.

    Args:
        labels: class of each sample, int64, shape `(sample,)`
        shuffle: a new order each epoch; False keeps the order and leaves `sampling` out
        sampling: how often each class comes
    """
    if not shuffle:
        return InOrder(len(labels))
    return Shuffled(len(labels)) if sampling == "none" else ClassSampled(labels, sampling)


class EpochSampler:
    """Index batches of one epoch for one process: every drawn sample once over all processes, no padding.

    Lightning calls `set_epoch` at the start of each epoch. All processes draw the same order from seed + epoch and
    take their own part of each global batch. Every process has the same number of batches, because one that finished
    early would leave the others waiting in a collective.

    Args:
        order: the samples of an epoch
        batch_size: samples in a batch over all processes together
        seed: of the draws, the same on all processes
        rank: number of this process
        world_size: number of processes
    """

    def __init__(self, order: Order, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        self.size = len(order)
        if self.size == 0:
            raise ValueError("there is no sample in this split: set its fraction above 0, or give it images")
        if self.size < world_size:
            raise ValueError(f"{self.size} sample(s) cannot be shared by {world_size} processes: use fewer devices")
        self.order, self.batch_size = order, batch_size
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draw comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        batches, rest = divmod(self.size, self.batch_size)
        # BatchNorm cannot be trained on one sample, so a remainder that small joins the batch before it
        return batches + (rest >= 2 * self.world_size) if batches else 1

    @property
    def smallest(self) -> int:
        """How many samples the smallest batch of an epoch has on the process that gets the fewest."""
        last = len(self) - 1
        sizes = [self._end(number) - number * self.batch_size for number in {0, last}]
        return min(sizes) // self.world_size

    def batches(self, start: int = 0, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield this process's index batches of the chosen epoch.

        Args:
            start: number of batches to leave out, for an epoch that is resumed
            device: where the indices are wanted; all of an epoch go there at once
        """
        drawn = self._draw().to(device, non_blocking=True)
        for number in range(start, len(self)):
            yield drawn[number * self.batch_size + self.rank : self._end(number) : self.world_size]

    def whole_batch(self, number: int) -> Tensor:
        """Return the indices of one batch of the chosen epoch over all processes.

        Args:
            number: of the batch
        """
        return self._draw()[number * self.batch_size : self._end(number)]

    def _draw(self) -> Tensor:
        return self.order.draw(torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63))

    def _end(self, number: int) -> int:
        return self.size if number == len(self) - 1 else (number + 1) * self.batch_size
