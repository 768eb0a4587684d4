"""Batches of one split as dicts of tensors."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from datamodules.samplers import EpochSampler
from datamodules.samples import Samples

Batch = dict[str, Tensor]


class BatchLoader:
    """Iterate over a split by one index-gather a batch.

    Lightning takes any iterable as a loader; it calls `sampler.set_epoch` at the start of each epoch, and saves and
    restores the state of one that has `state_dict`, so that a run resumed within an epoch gets the batches that were
    left.

    Args:
        samples: the split
        sampler: which samples make up each batch on this process
    """

    # Lightning asks every loader that has a sampler for one of these
    batch_sampler = None

    def __init__(self, samples: Samples, sampler: EpochSampler) -> None:
        self.samples, self.sampler = samples, sampler
        # number of the batch handed out last, in its epoch
        self.batch_number = -1
        self._resumed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.sampler)

    def state_dict(self) -> dict[str, int]:
        """Say which batch was handed out last."""
        return {"epoch": self.sampler.epoch, "batches": self.batch_number + 1, **self._plan()}

    def _plan(self) -> dict[str, int]:
        return {"size": self.sampler.size, "batch_size": self.sampler.batch_size}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on after the batch that was handed out last, if its epoch is the next to be iterated over."""
        if self._plan().items() <= state_dict.items():
            self._resumed = state_dict
        else:
            rank_zero_warn(
                f"The checkpoint's epoch had {state_dict['size']} samples in batches of {state_dict['batch_size']}, "
                f"this one has {self.sampler.size} in batches of {self.sampler.batch_size}: it starts over"
            )

    def batch(self, indices: Tensor) -> Batch:
        """Gather one batch: the source's input, `label`, `id` and perhaps `source`, each with `(batch, ...)`."""
        samples = self.samples
        batch = {
            samples.source.name: samples.source.gather(samples.rows[indices]),
            "label": samples.labels[indices],
            "id": samples.ids[indices],
        }
        return batch if samples.sources is None else batch | {"source": samples.sources[indices]}

    def __iter__(self) -> Iterator[Batch]:
        resumed, self._resumed = self._resumed, {}
        start = resumed["batches"] if resumed.get("epoch") == self.sampler.epoch else 0
        indices = self.sampler.batches(start)
        batches = map(self.batch, indices) if self.samples.source.in_memory else self._ahead(indices)
        for number, batch in enumerate(batches, start):
            # before it is handed out: a checkpoint saved after its step must not repeat it
            self.batch_number = number
            yield batch

    def _ahead(self, indices: Iterator[Tensor]) -> Iterator[Batch]:
        # reading and decoding of the next batch overlaps with the training step on this one
        with ThreadPoolExecutor(1, "batch") as pool:
            pending: Future[Batch] | None = None
            for following in indices:
                ready, pending = pending, pool.submit(self.batch, following)
                if ready is not None:
                    yield ready.result()
            if pending is not None:
                yield pending.result()
