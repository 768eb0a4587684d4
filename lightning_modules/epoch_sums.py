"""Loss and accuracy of an epoch of training, summed on the device."""

from typing import Any

import torch
from torch import Tensor


class EpochSums:
    """Loss and hits of an epoch so far; reading them in each step would wait for the device."""

    def __init__(self) -> None:
        self.sums = torch.zeros(2)
        self.count = 0

    def move(self, device: torch.device) -> None:
        """Take the sums to a device, in double precision where it has it."""
        self.sums = self.sums.to(device, torch.float32 if device.type == "mps" else torch.float64)

    def clear(self) -> None:
        """Begin a new epoch."""
        self.sums, self.count = torch.zeros_like(self.sums), 0

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            loss: mean over the batch
            logits: shape `(batch, class)`
            labels: shape `(batch,)`
        """
        count = len(labels)
        hits = (logits.argmax(1) == labels).sum()
        self.sums += torch.stack([loss * count, hits])
        self.count += count

    def with_count(self) -> Tensor:
        """Return loss, hits and samples as one tensor, to be added up over processes."""
        return torch.cat([self.sums, self.sums.new_tensor([self.count])])

    def state_dict(self) -> dict[str, Any]:
        """Return what a run resumed within the epoch must know."""
        return {"sums": self.sums.cpu(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on within an epoch."""
        self.sums, self.count = state["sums"], state["count"]
