"""Heads that average the members' probabilities: equally, with tuned weights, or by greedy selection."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from common.ranges import check_range
from ensembling.heads.base import HEAD_OPTION, Head

# what stands for the logarithm of a probability of zero
LOG_ZERO = -1e4


class WeightedMean(nn.Module):
    """Logarithm of a weighted mean of probabilities; equal weights at first.

    Args:
        num_bases: number of members
    """

    def __init__(self, num_bases: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_bases,), 1 / num_bases))

    def forward(self, logits: Tensor) -> Tensor:
        """Pool logits `(batch, base, class)` to logarithms of probabilities `(batch, class)`."""
        weight = self.weight if logits.dtype == torch.float64 else self.weight.float()
        log_p = logits.to(weight.dtype).log_softmax(2)
        # members without weight must not set the scale: all others could vanish beside them
        top = log_p.detach().masked_fill((weight.detach() == 0)[:, None], -torch.inf).amax(1).clamp(min=LOG_ZERO)
        # nor may they overflow on it
        ratio = (log_p - top[:, None]).clamp(max=60).exp()
        pooled = torch.einsum("b,nbc->nc", weight.to(ratio.dtype), ratio)
        return (pooled.clamp(min=torch.finfo(pooled.dtype).tiny).log() + top).clamp(min=LOG_ZERO)


@dataclass(eq=False)
class _Averaging(Head):
    solved: ClassVar[bool] = True

    def build(self, num_bases: int, num_classes: int) -> nn.Module:
        """Build a mean of probabilities with equal weights."""
        return WeightedMean(num_bases)


@dataclass(eq=False)
class MeanHead(_Averaging):
    """Mean of the members' probabilities; nothing is fitted."""

    name: ClassVar[str] = "mean"

    def solve(
        self, module: nn.Module, logits: Tensor, labels: Tensor, seed: int = 0, groups: Tensor | None = None
    ) -> None:
        """Set equal weights."""
        nn.init.constant_(module.weight, 1 / logits.shape[1])  # type: ignore[arg-type]


@dataclass(eq=False)
class TunedMeanHead(_Averaging):
    """Weighted mean of the members' probabilities, with the weights that give the lowest NLL."""

    name: ClassVar[str] = "tuned_mean"

    def solve(
        self, module: nn.Module, logits: Tensor, labels: Tensor, seed: int = 0, groups: Tensor | None = None
    ) -> None:
        """Find the weights."""
        set_weights(module, tuned_weights(logits, labels))


@dataclass(eq=False)
class GreedyHead(_Averaging):
    """Greedy selection of members with replacement, whose probabilities are then averaged.

    Caruana et al., Ensemble Selection from Libraries of Models, ICML 2004.

    Args:
        rounds: members to select, of which the shortest best beginning is kept
        metric: what a member is selected by: nll or accuracy
    """

    rounds: int = 100
    metric: Literal["nll", "accuracy"] = "nll"
    name: ClassVar[str] = "greedy"

    def __post_init__(self) -> None:
        check_range(f"{HEAD_OPTION}.rounds", self.rounds, "[1, inf)")

    def solve(
        self, module: nn.Module, logits: Tensor, labels: Tensor, seed: int = 0, groups: Tensor | None = None
    ) -> None:
        """Select members."""
        set_weights(module, greedy_weights(logits, labels, self.rounds, self.metric))


@torch.no_grad()
def set_weights(module: nn.Module, weights: Tensor) -> None:
    """Copy weights `(base,)` into a weighted mean."""
    module.weight.copy_(weights)  # type: ignore[operator]


def tuned_weights(logits: Tensor, labels: Tensor, tolerance: float = 1e-9) -> Tensor:
    """Find the weights on the simplex with the lowest NLL of the weighted mean probability.

    The problem is convex. Without the constraint of sum 1, `sum(w) - mean(log(p @ w))` over `w >= 0` has the same
    solution, which a primal-dual interior-point method finds in some twenty steps. Members that are the same share
    their weight equally.

    Args:
        logits: shape `(sample, base, class)`
        labels: int64, shape `(sample,)`
        tolerance: how far the NLL may be from the lowest

    Returns:
        float64, shape `(base,)`
    """
    p = true_probabilities(logits, labels)
    count, bases = p.shape
    w = torch.full((bases,), 1 / bases, dtype=torch.float64)
    dual = torch.ones_like(w)
    for _ in range(200):
        mixed = p @ w
        ratio = p / mixed[:, None]
        share = ratio.mean(0)
        # how far the NLL of these weights, made to sum to 1, can be from the lowest
        if float(share.max() * w.sum()) - 1 < tolerance:
            break
        target = 0.1 * float(w @ dual) / bases
        hessian = ratio.T @ ratio / count + torch.diag(dual / w)
        step = torch.linalg.solve(hessian, share - 1 + target / w)
        dual_step = target / w - dual - dual / w * step
        w = w + _longest(w, step) * step
        dual = dual + _longest(dual, dual_step) * dual_step
    w = torch.where(w < 1e-7 * w.max(), 0.0, w)
    return w / w.sum()


def _longest(value: Tensor, step: Tensor) -> float:
    """Return how far a step may go, at most 1, that keeps all values above 0."""
    down = step < 0
    return min(1.0, 0.99 * float((-value[down] / step[down]).min())) if down.any() else 1.0


def true_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each member's probability of each sample's class, relative to the best member's.

    What a sample's row is divided by changes the NLL of any average by the same amount.

    Args:
        logits: shape `(sample, base, class)`
        labels: int64, shape `(sample,)`

    Returns:
        float64 in [0, 1], shape `(sample, base)`; ones where no member has a probability above 0
    """
    index = labels[:, None, None].expand(-1, logits.shape[1], 1)
    log_p = logits.double().log_softmax(2).gather(2, index)[:, :, 0]
    return (
        (log_p - log_p.amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).min))
        .exp()
        .where(log_p.amax(1, keepdim=True) > -torch.inf, torch.ones(()))
    )


def greedy_weights(logits: Tensor, labels: Tensor, rounds: int, metric: Literal["nll", "accuracy"]) -> Tensor:
    """Select members one by one, each the one that helps the average most; a member may be selected again.

    Args:
        logits: shape `(sample, base, class)`
        labels: int64, shape `(sample,)`
        rounds: members to select
        metric: nll or accuracy; the first of equal members is taken

    Returns:
        share of each member in the shortest best selection, float64, shape `(base,)`
    """
    score = _nll_of if metric == "nll" else _error_of
    p = true_probabilities(logits, labels) if metric == "nll" else logits.double().softmax(2)
    total = torch.zeros_like(p[:, 0])
    counts = torch.zeros(p.shape[1], dtype=torch.float64)
    best, best_counts = torch.inf, counts
    for size in range(1, rounds + 1):
        scores = score(total, p, labels, size)
        chosen = int(scores.argmin())
        total += p[:, chosen]
        counts[chosen] += 1
        # not for a rounding error
        if float(scores[chosen]) < best - 1e-12:
            best, best_counts = float(scores[chosen]), counts.clone()
    return best_counts / best_counts.sum()


def _nll_of(total: Tensor, p: Tensor, labels: Tensor, size: int) -> Tensor:
    mean = (total[:, None] + p) / size
    return -mean.clamp(min=torch.finfo(mean.dtype).tiny).log().mean(0)


def _error_of(total: Tensor, p: Tensor, labels: Tensor, size: int) -> Tensor:
    wrong = [((total + p[:, base]).argmax(1) != labels).double().mean() for base in range(p.shape[1])]
    return torch.stack(wrong)
