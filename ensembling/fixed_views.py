"""Augmented images that stay the same: fixed views of a data set."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.augmentation.transforms import Step, augment
from datamodules.samples import Source


@dataclass(frozen=True)
class FixedView:
    """Images of a source, each augmented once and for all, as long as they are gathered in the same batches.

    Args:
        source: of uint8 images
        steps: of the augmentation
        number: of the view; each number is another draw
    """

    source: Source
    steps: Sequence[Step]
    number: int

    @property
    def name(self) -> str:
        """The batch's key for the images."""
        return self.source.name

    @property
    def in_memory(self) -> bool:
        """Whether a gather is too fast to be worth doing ahead, on another thread."""
        return self.source.in_memory

    def __len__(self) -> int:
        return len(self.source)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the augmented images at `indices`, shape `(batch, channel, height, width)`."""
        drawn = hashlib.blake2b(repr(self.number).encode() + indices.numpy().tobytes(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(drawn, "little"))
        return augment(self.source.gather(indices), self.steps, generator)
