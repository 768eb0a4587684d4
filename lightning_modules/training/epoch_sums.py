"""Loss and accuracy of an epoch of training, summed on the device."""

from typing import Any

import torch
from torch import Tensor


class EpochSums:
    """Loss and hits of an epoch so far; reading them in each step would wait for the device."""

    def __init__(self) -> None:
        self._hold(torch.zeros(2), 0)

    def _hold(self, sums: Tensor, count: int) -> None:
        self.sums, self.count = sums, count
        # views: adding to them in place is the least that a step can do
        self._loss, self._hits = sums.unbind()

    def move(self, device: torch.device) -> None:
        """Take the sums to a device, in double precision where it has it."""
        self._hold(self.sums.to(device, torch.float32 if device.type == "mps" else torch.float64), self.count)

    def clear(self) -> None:
        """Begin a new epoch."""
        self._hold(torch.zeros_like(self.sums), 0)

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            loss: mean over the batch
            logits: shape `(batch, class)`
            labels: shape `(batch,)`
        """
        count = len(labels)
        self._loss.add_(loss, alpha=count)
        self._hits.add_((logits.argmax(1) == labels).sum())
        self.count += count

    @torch.no_grad()
    def add_loss(self, loss: Tensor, count: int) -> None:
        """Add a batch of which no hits are counted.

        Args:
            loss: mean over the batch
            count: of its samples
        """
        self._loss.add_(loss, alpha=count)
        self.count += count

    def with_count(self) -> Tensor:
        """Return loss, hits and samples as one tensor, to be added up over processes."""
        return torch.cat([self.sums, self.sums.new_tensor([self.count])])

    def state_dict(self) -> dict[str, Any]:
        """Return what a run resumed within the epoch must know."""
        return {"sums": self.sums.cpu(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on within an epoch."""
        self._hold(state["sums"], state["count"])
