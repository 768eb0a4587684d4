"""The modules of the heads, from members' logits to the stack's."""

from typing import Any

import torch
from torch import Tensor, nn

from ensembling.choices import Features
from ensembling.logits import to_features

# used in place of the logarithm of a probability of zero
LOG_ZERO = -1e4
# the share of a class without a vote, and what is added to that of the class that a tie goes to
NO_VOTE, TIE_BREAK = 1e-6, 1e-4


class Logistic(nn.Linear):
    """A linear layer on features of members' logits.

    Args:
        features: what the layer sees of each member
        num_bases: number of members
        num_classes: number of classes
    """

    def __init__(self, features: Features, num_bases: int, num_classes: int) -> None:
        super().__init__(num_bases * num_classes, num_classes)
        self.features = features
        # the C of the fit; 0 before it
        self.C: Tensor
        self.register_buffer("C", torch.tensor(0.0))
        # what to tell of the fit
        self.notes: list[str] = []

    def forward(self, logits: Tensor) -> Tensor:
        """Pool logits `(batch, member, class)` to logits `(batch, class)`."""
        return super().forward(to_features(logits.to(self.weight.dtype), self.features))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # earlier checkpoints did not keep it
        state_dict.setdefault(f"{prefix}C", self.C)
        super()._load_from_state_dict(state_dict, prefix, *args)


class MLPNetwork(nn.Module):
    """Features of members' logits, standardised, through fully connected layers.

    Args:
        features: what the layers see of each member
        layers: from `(batch, member * class)` to `(batch, class)`
        width: number of features
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Features, layers: nn.Sequential, width: int) -> None:
        super().__init__()
        self.features = features
        self.layers = layers
        # these leave the features unchanged until a fit sets them
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, logits: Tensor) -> Tensor:
        """Pool logits `(batch, member, class)` to logits `(batch, class)`."""
        x = to_features(logits.to(self.mean.dtype), self.features)
        return self.layers((x - self.mean) / self.scale)


class WeightedMean(nn.Module):
    """Logarithm of a weighted mean of probabilities; equal weights at first.

    Args:
        num_bases: number of members
    """

    def __init__(self, num_bases: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_bases,), 1 / num_bases))

    def forward(self, logits: Tensor) -> Tensor:
        """Pool logits `(batch, member, class)` to logarithms of probabilities `(batch, class)`."""
        weight = self.weight if logits.dtype == torch.float64 else self.weight.float()
        log_p = logits.to(weight.dtype).log_softmax(2)
        # members without weight must not set the scale: all others could vanish beside them
        top = log_p.detach().masked_fill((weight.detach() == 0)[:, None], -torch.inf).amax(1).clamp(min=LOG_ZERO)
        # their ratio to the scale must not overflow either
        ratio = (log_p - top[:, None]).clamp(max=60).exp()
        pooled = torch.einsum("b,nbc->nc", weight.to(ratio.dtype), ratio)
        return (pooled.clamp(min=torch.finfo(pooled.dtype).tiny).log() + top).clamp(min=LOG_ZERO)


class Vote(nn.Module):
    """Logarithms of the shares of the members' votes.

    Args:
        num_bases: number of members
    """

    def __init__(self, num_bases: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_bases,), 1 / num_bases))

    def forward(self, logits: Tensor) -> Tensor:
        """Pool logits `(batch, member, class)` to logarithms of shares `(batch, class)`."""
        weight = self.weight if logits.dtype == torch.float64 else self.weight.float()
        votes = nn.functional.one_hot(logits.argmax(2), logits.shape[2]).to(weight.dtype)
        shares = torch.einsum("b,nbc->nc", weight, votes)
        # of those with most votes, whatever the rounding
        leads = shares > shares.detach().amax(1, keepdim=True) - TIE_BREAK
        mean = logits.to(weight.dtype).softmax(2).mean(1).masked_fill(~leads, -1)
        winner = nn.functional.one_hot(mean.argmax(1), logits.shape[2])
        tied = leads.sum(1, keepdim=True) > 1
        return (shares.clamp(min=NO_VOTE) + TIE_BREAK * winner * tied).log()
