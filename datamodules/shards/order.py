"""The order in which samples come: near their neighbours in the shards, so that few shards are needed at once."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from datamodules.samplers import Order


@dataclass(frozen=True)
class ShardOrder:
    """The samples that another order draws, shard by shard, in streams that are dealt out in turn.

    It stands in place of litdata's own: that one mixes samples within a shard alone, depends on the number of workers,
    and leaves samples out so that all processes have as many. This one is a function of seed and epoch: a run resumes
    within an epoch at the next sample, and each sample comes once, whatever the processes.

    The samples are split into streams of the same length (to one sample), each of which goes through shards of its own.
    Sample p of the epoch is of stream p modulo their number, so a process, which takes every n-th sample, reads its own
    streams alone.

    Args:
        order: draws which samples an epoch has
        shards: number of the shard of each sample, int64, shape `(sample,)`
        streams: a multiple of the number of processes
        mixed: shards that samples of a stream are mixed from at any time; 0 keeps the order of the shards and in them
    """

    order: Order
    shards: Tensor
    streams: int
    mixed: int

    chosen_by: ClassVar[tuple[str, ...]] = (
        "--data.mixed_shards",
        "--data.streams (by default the number of processes)",
    )

    def __len__(self) -> int:
        return len(self.order)

    def draw(self, generator: Generator) -> Tensor:
        """Return the indices of one epoch, int64, shape `(sample,)`."""
        drawn = self.order.draw(generator)
        places = torch.arange(int(self.shards.max()) + 1)
        if self.mixed:
            places = places[torch.randperm(len(places), generator=generator)]
        by_shard = drawn[places[self.shards[drawn]].argsort(stable=True)]
        epoch, start = torch.empty_like(by_shard), 0
        for number in range(self.streams):
            taken = epoch[number :: self.streams]
            stream = by_shard[start : start + len(taken)]
            start += len(taken)
            taken.copy_(self._mixed(stream, places, generator) if self.mixed else stream)
        return epoch

    def _mixed(self, stream: Tensor, places: Tensor, generator: Generator) -> Tensor:
        # a sample comes up to so many shards later than its own shard does: what is needed at once moves on evenly
        _, turn = places[self.shards[stream]].unique_consecutive(return_inverse=True)
        few = not len(turn) or int(turn.max()) < self.mixed
        late = torch.rand(len(stream), generator=generator, dtype=torch.float64)
        return stream[(late if few else turn + self.mixed * late).argsort(stable=True)]
