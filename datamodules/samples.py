"""Samples of one split, and the sources that batches are gathered from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# columns that a data set may lack
OPTIONAL = ("sources", "groups", "pixels", "looks", "group_forms", "targets", "features", "values")


class Source(Protocol):
    """Where a batch's input comes from: one index-gather a batch."""

    @property
    def name(self) -> str:
        """The batch's key for the inputs."""

    @property
    def in_memory(self) -> bool:
        """Whether a gather is too fast to be worth doing ahead, on another thread."""

    def __len__(self) -> int:
        """Return the number of samples held."""

    def gather(self, indices: Tensor) -> Tensor:
        """Return the inputs at `indices`, shape `(batch, ...)`."""


@dataclass(frozen=True)
class TensorSource:
    """Inputs held in memory as one tensor.

    Args:
        tensor: shape `(sample, ...)`: uint8 images, or logits for a stack
        name: the batch's key for them
        in_memory: False for a tensor mapped from a file, whose pages may have to be read first
    """

    tensor: Tensor
    name: str = "image"
    in_memory: bool = True

    def __len__(self) -> int:
        return len(self.tensor)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the inputs at `indices`, shape `(batch, ...)`."""
        # many times faster than indexing with brackets
        return self.tensor.index_select(0, indices)


@dataclass(frozen=True)
class Samples:
    """Samples of a data set or of one of its splits.

    Args:
        source: the inputs; shared by all splits, so they are held once
        rows: index of each sample in `source`, shape `(sample,)`
        labels: class of each sample, int64, shape `(sample,)`
        ids: id of each sample, int64, shape `(sample,)`
        keys: key of each sample's bytes in its file or array, int64, shape `(sample,)`
        names: name of each row of `source`, such as its path
        sources: index of where each sample comes from, int64, shape `(sample,)`; None if that is not known
        groups: group of each sample, int64, shape `(sample,)`; None takes each for itself
        pixels: content key of each sample: of its upright pixels, however they are saved, int64, shape `(sample,)`;
            None if only the keys of the bytes are known
        looks: perceptual hash of each sample, int64, shape `(sample,)`; None if they are not known
        group_forms: group of each sample, whatever the case and spaces of its name, int64, shape `(sample,)`; None
            where that is the same as `groups`
        targets: probability of each class, whose largest is the label, float32, shape `(sample, class)`; None where
            labels are certain
        features: of each sample beside its input, where a manifest has them, float64, shape `(sample, column)`
        values: number that is to be predicted of each sample in place of a class, float64, shape `(sample,)`
    """

    source: Source
    rows: Tensor
    labels: Tensor
    ids: Tensor
    keys: Tensor
    names: Sequence[str]
    sources: Tensor | None = None
    groups: Tensor | None = None
    pixels: Tensor | None = None
    looks: Tensor | None = None
    group_forms: Tensor | None = None
    targets: Tensor | None = None
    features: Tensor | None = None
    values: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, indices: Tensor | np.ndarray | Sequence[int]) -> "Samples":
        """Keep the samples at `indices`; the inputs are not copied."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        columns = {name: getattr(self, name)[chosen] for name in ("rows", "labels", "ids", "keys")}
        columns |= {name: column[chosen] for name in OPTIONAL if (column := getattr(self, name)) is not None}
        return replace(self, **columns)

    def with_source(self, source: Source) -> "Samples":
        """Serve other inputs for the same samples.

        Args:
            source: one input a sample, in this split's order
        """
        return replace(self, source=source, rows=torch.arange(len(self)), names=self.sample_names())

    def sample_names(self) -> list[str]:
        """Return the name of each sample of this split."""
        return [self.names[row] for row in self.rows.tolist()]

    @property
    def contents(self) -> Tensor:
        """The content key of each sample, or else the key of its bytes, shape `(sample,)`."""
        return self.keys if self.pixels is None else self.pixels

    def group_array(self) -> NDArray[np.int64] | None:
        """Return the groups as an array, for the functions that draw splits."""
        return None if self.groups is None else self.groups.numpy()
