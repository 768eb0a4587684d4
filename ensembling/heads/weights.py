"""Weights of averages of probabilities: tuned, or by greedy selection."""

from typing import Literal

import torch
from torch import Tensor, nn


@torch.no_grad()
def set_weights(module: nn.Module, weights: Tensor) -> None:
    """Copy weights `(member,)` into a weighted mean."""
    module.weight.copy_(weights)  # type: ignore[operator]


def tuned_weights(logits: Tensor, labels: Tensor, tolerance: float = 1e-9) -> Tensor:
    """Find the weights on the simplex with the lowest NLL of the weighted mean probability.

    The problem is convex. Without the constraint of sum 1, `sum(w) - mean(log(p @ w))` over `w >= 0` has the same
    solution, which a primal-dual interior-point method finds in some twenty steps. Members that are the same share
    their weight equally.

    Args:
        logits: shape `(sample, member, class)`
        labels: int64, shape `(sample,)`
        tolerance: how far the NLL may be from the lowest

    Returns:
        float64, shape `(member,)`
    """
    p = true_probabilities(logits, labels)
    count, members = p.shape
    w = torch.full((members,), 1 / members, dtype=torch.float64)
    dual = torch.ones_like(w)
    for _ in range(200):
        mixed = p @ w
        ratio = p / mixed[:, None]
        share = ratio.mean(0)
        # how far the NLL of these weights, made to sum to 1, can be from the lowest
        if float(share.max() * w.sum()) - 1 < tolerance:
            break
        target = 0.1 * float(w @ dual) / members
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
        logits: shape `(sample, member, class)`
        labels: int64, shape `(sample,)`

    Returns:
        float64 in [0, 1], shape `(sample, member)`; ones where no member has a probability above 0
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
        logits: shape `(sample, member, class)`
        labels: int64, shape `(sample,)`
        rounds: members to select
        metric: nll or accuracy; the first of equal members is taken

    Returns:
        share of each member in the shortest best selection, float64, shape `(member,)`
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
    wrong = [((total + p[:, member]).argmax(1) != labels).double().mean() for member in range(p.shape[1])]
    return torch.stack(wrong)
