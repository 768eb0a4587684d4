"""All samples of a data set, one split after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from datamodules import DataModule
from datamodules.samples import Samples
from datamodules.splits import SPLITS


@dataclass(frozen=True)
class Everything:
    """All samples of a data set, one split after the other.

    Args:
        splits: the samples of each split that has any
        owner: number of each sample's split, shape `(sample,)`
        names: of each sample
        labels: class of each sample, shape `(sample,)`
        keys: content key of each sample, shape `(sample,)`
        sources: number of each sample's source, shape `(sample,)`; None where the data has none
        groups: group of each sample, shape `(sample,)`; None where the data has none
        targets: probability of each class, shape `(sample, class)`; None where labels are certain
    """

    splits: dict[str, Samples]
    owner: np.ndarray
    names: list[str]
    labels: np.ndarray
    keys: np.ndarray
    sources: np.ndarray | None = None
    groups: np.ndarray | None = None
    targets: np.ndarray | None = None

    @classmethod
    def of(cls, data: DataModule) -> "Everything":
        """Collect the splits of a DataModule."""
        splits = {name: data.splits[name] for name in SPLITS if len(data.splits[name])}
        owner = np.concatenate([np.full(len(samples), number) for number, samples in enumerate(splits.values())])
        names = [name for samples in splits.values() for name in samples.sample_names()]
        labels, keys = (
            torch.cat([getattr(samples, column) for samples in splits.values()]).numpy()
            for column in ("labels", "contents")
        )
        sources, groups, targets = (
            None if any(column is None for column in columns) else torch.cat(columns).numpy()
            for columns in (
                [getattr(part, name) for part in splits.values()] for name in ("sources", "groups", "targets")
            )
        )
        return cls(splits, owner, names, labels, keys, sources, groups, targets)

    def between(self, indices: Sequence[int]) -> str:
        """Name the splits that some samples lie in, such as `train-test`."""
        names = list(self.splits)
        return "-".join(names[number] for number in sorted({int(self.owner[index]) for index in indices}))

    def image(self, index: int) -> np.ndarray:
        """Return one image, uint8, shape `(height, width, channel)`."""
        number = int(self.owner[index])
        samples = list(self.splits.values())[number]
        row = samples.rows[index - int(np.searchsorted(self.owner, number))]
        return samples.source.gather(row[None])[0].permute(1, 2, 0).numpy()
