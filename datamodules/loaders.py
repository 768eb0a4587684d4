"""Batches of one split as dicts of tensors."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from datamodules.provenance import fingerprint
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
        held: the same samples on the device that trains, where their batches are then gathered; None leaves that to
            the host
    """

    # Lightning asks every loader that has a sampler for one of these
    batch_sampler = None

    def __init__(self, samples: Samples, sampler: EpochSampler, held: Samples | None = None) -> None:
        self.sampler = sampler
        self.hand_out(samples, held)
        # how many batches of the epoch have been trained on; by default, that have been handed out
        self.finished: Callable[[], int] = lambda: self._handed_out
        self._handed_out = 0
        # samples handed out so far, and the seconds that the caller has waited for them
        self.served, self.waited = 0, 0.0
        self._resumed: dict[str, Any] = {}

    def hand_out(self, samples: Samples, held: Samples | None = None) -> None:
        """Hand out other inputs of the same samples from the next epoch on.

        Args:
            samples: the split, in the order that it has
            held: see `BatchLoader`
        """
        self.samples, self.held = samples, samples if held is None else held

    def __len__(self) -> int:
        return len(self.sampler)

    def state_dict(self) -> dict[str, Any]:
        """Say how many batches of the epoch are done."""
        return {"epoch": self.sampler.epoch, "batches": self.finished(), **self._plan}

    @cached_property
    def _plan(self) -> dict[str, Any]:
        sampler = self.sampler
        drawn = fingerprint(self.samples.ids, sampler.order.draw(torch.Generator().manual_seed(0)))
        return {"batch_size": sampler.batch_size, "seed": sampler.seed, "samples": drawn, "of": len(self)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the batches that are done, if their epoch is the next to be iterated over.

        Raises:
            ValueError: the epoch was left half-way, and other batches would follow than those that were left
        """
        changed = [name for name, value in self._plan.items() if name != "of" and state_dict[name] != value]
        if changed and 0 < state_dict["batches"] < state_dict["of"]:
            raise ValueError(
                f"the checkpoint was saved within an epoch, after {state_dict['batches']} of {state_dict['of']} "
                f"batches, of other {' and '.join(changed).replace('_', ' ')}: continue with the same data, "
                f"{', '.join(['--data.sampler', *self.sampler.order.chosen_by, '--data.batch_size'])} and "
                f"--seed_everything, or from a checkpoint of a whole epoch"
            )
        self._resumed = {} if changed else state_dict

    def batch(self, indices: Tensor) -> Batch:
        """Gather one batch: the source's input, `label`, `id`, and what else there is, each `(batch, ...)`.

        Args:
            indices: of the batch, shape `(batch,)`, where the samples are held
        """
        samples = self.held
        batch = {
            samples.source.name: samples.source.gather(samples.rows[indices]),
            "label": samples.labels[indices],
            "id": samples.ids[indices],
        }
        more = {
            "source": samples.sources,
            "target": samples.targets,
            "table": samples.features,
            "value": samples.values,
        }
        return batch | {name: column[indices] for name, column in more.items() if column is not None}

    def whole_batch(self, number: int) -> Samples:
        """Return the samples of one batch of the epoch over all processes.

        Args:
            number: of the batch
        """
        return self.samples.subset(self.sampler.whole_batch(number))

    def __iter__(self) -> Iterator[Batch]:
        resumed, self._resumed = self._resumed, {}
        start = resumed["batches"] if resumed.get("epoch") == self.sampler.epoch else 0
        # a finished epoch is not continued
        start = start if start < len(self) else 0
        indices = self.sampler.batches(start, self.held.rows.device)
        batches = map(self.batch, indices) if self.held.source.in_memory else self._ahead(indices)
        for number in range(start + 1, len(self) + 1):
            asked = time.perf_counter()
            batch = next(batches)
            self.waited += time.perf_counter() - asked
            self.served += len(batch["id"])
            self._handed_out = number
            yield batch

    def _ahead(self, indices: Iterator[Tensor]) -> Iterator[Batch]:
        # reading and decoding of the next batch overlaps with the training step on this one
        with ThreadPoolExecutor(1, "batch") as pool:
            pending: Future[Batch] | None = None
            for following in indices:
                ready, pending = pending, pool.submit(self.batch, following)
                if ready is not None:
                    yield ready.result()
        # outside: who has the last batch asks for no more, and the thread would wait for ever
        if pending is not None:
            yield pending.result()
