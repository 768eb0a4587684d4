"""Batches of one split as dicts of tensors."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from datamodules.samplers import EpochSampler
from datamodules.samples import Samples, TensorSource

Batch = dict[str, Tensor]


class BatchLoader:
    """Iterate over a split by one index-gather a batch.

    Lightning takes any iterable as a loader; it calls `sampler.set_epoch` at the start of each epoch.

    Args:
        samples: the split
        sampler: which samples make up each batch on this process
    """

    # Lightning asks every loader that has a sampler for one of these
    batch_sampler = None

    def __init__(self, samples: Samples, sampler: EpochSampler) -> None:
        self.samples, self.sampler = samples, sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def batch(self, indices: Tensor) -> Batch:
        """Gather one batch: the source's input, `label` and `id`, each with `(batch, ...)`."""
        samples = self.samples
        source = samples.source
        return {
            source.name: source.gather(samples.rows[indices]),
            "label": samples.labels[indices],
            "id": samples.ids[indices],
        }

    def __iter__(self) -> Iterator[Batch]:
        if isinstance(self.samples.source, TensorSource):
            yield from map(self.batch, self.sampler)
        else:
            yield from self._ahead()

    def _ahead(self) -> Iterator[Batch]:
        # decoding of the next batch overlaps with the training step on this one
        with ThreadPoolExecutor(1, "batch") as pool:
            indices = iter(self.sampler)
            pending = pool.submit(self.batch, next(indices))
            for following in indices:
                ready, pending = pending, pool.submit(self.batch, following)
                yield ready.result()
            yield pending.result()
