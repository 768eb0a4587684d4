"""Which members are worth their cost, and which model to use: decided on held-out samples, never on test."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ensembling.choices import SMALLEST_GAIN
from ensembling.logits import mean_logits
from measures.bootstrap import REPLICATES, gains_beyond_noise
from measures.intervals import MIN_UNITS, Measured, beyond_noise, measure, undefined

# heads from simple to complex; a name may continue after these, such as "logistic on probabilities"
SIMPLICITY = ("mean", "vote", "tuned_mean", "greedy", "logistic", "mlp")
# the metrics in which models are compared
COMPARED = ("accuracy", "nll")
# above this number of members, not every subset is tried
EXHAUSTIVE_MEMBERS = 12
# what the reason for a recommendation calls the samples behind it
HELD_OUT, LEAKED = "held-out samples", "samples that were not held out from the members (LEAKAGE ALLOWED)"

# maps members' logits (sample, member, class) to held-out logits (sample, class)
Pool = Callable[[Tensor], Tensor]
# maps members' numbers to a score; more is better
Score = Callable[[tuple[int, ...]], float]


@dataclass(frozen=True)
class Recommendation:
    """Which model to use, and why.

    Args:
        model: its name
        sentence: the reason, with its numbers
        best_member: the best single member on held-out samples
        head_helps: whether it is a trained head, so that the tuned mean is beaten; None without a tuned mean or such a
            head
        order: the candidates, from simple to complex
    """

    model: str
    sentence: str
    best_member: str
    head_helps: bool | None
    order: list[str]


def worth(
    logits: Mapping[str, Tensor],
    labels: Tensor,
    pool: Pool = mean_logits,
    shares: Mapping[str, float] | None = None,
    groups: Tensor | None = None,
) -> list[dict[str, Any]]:
    """Tell what a stack loses without each of its members.

    Args:
        logits: of held-out samples by member, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        pool: what makes one prediction of the members'; the mean of their probabilities unless given. A trained head
            must give held-out logits, such as those of a cross-fit
        shares: by member, its share in the greedy selection
        groups: of samples that are not independent, shape `(sample,)`

    Returns:
        a row a member: `member`; `accuracy` and `nll`, how much each changes when the member is left out, with interval
        (a useful member has accuracy below and nll above 0; None where it is the only one); `greedy_share`
    """
    names = list(logits)
    shares = shares or {}
    alone = {"accuracy": undefined(), "nll": undefined()}
    if len(names) < 2:
        return [{"member": name, **alone, "greedy_share": shares.get(name)} for name in names]
    stacked = torch.stack(list(logits.values()), 1)
    pooled = {"": pool(stacked)}
    for left, name in enumerate(names):
        pooled[name] = pool(stacked[:, [number for number in range(len(names)) if number != left]])
    measured = measure(pooled, labels, COMPARED, groups)
    return [
        {
            "member": name,
            **{metric: measured.difference(name, "", metric) for metric in COMPARED},
            "greedy_share": shares.get(name),
        }
        for name in names
    ]


def pareto_front(cost: Mapping[str, float], accuracy: Mapping[str, float]) -> list[str]:
    """List the models that no other dominates, which is as cheap and as accurate at least, and better in one.

    Args:
        cost: by name, such as ms an image
        accuracy: by name

    Returns:
        names, the cheapest first

    Example:
        >>> pareto_front({"small": 1.0, "slow": 3.0, "large": 2.0}, {"small": 0.8, "slow": 0.85, "large": 0.9})
        ['small', 'large']
    """
    front: list[str] = []
    for name in sorted(cost, key=lambda name: (cost[name], -accuracy[name])):
        last = front[-1] if front else name
        # ties all stay
        if accuracy[name] > accuracy[last] or (cost[name], accuracy[name]) == (cost[last], accuracy[last]):
            front.append(name)
    return front


def mean_score(logits: Tensor, labels: Tensor, metric: Literal["nll", "accuracy"] = "nll") -> Score:
    """Score subsets of members by the mean of their probabilities.

    Args:
        logits: of held-out samples, shape `(sample, member, class)`
        labels: int64, shape `(sample,)`
        metric: nll (its negative is the score) or accuracy

    Returns:
        a function from members' numbers to the score
    """
    probabilities = logits.double().softmax(2)
    # all that the likelihood needs: (member, sample)
    true = probabilities.gather(2, labels[:, None, None].expand(-1, logits.shape[1], 1))[:, :, 0].T.contiguous()
    by_member = probabilities.transpose(0, 1)

    def score(members: tuple[int, ...]) -> float:
        chosen = list(members)
        if metric == "accuracy":
            return float((by_member[chosen].sum(0).argmax(1) == labels).double().mean())
        return float(true[chosen].mean(0).clamp(min=torch.finfo(torch.float64).tiny).log().mean())

    return score


def prune_to_budget(ms_per_member: Mapping[str, float], budget: float, score: Score) -> list[str]:
    """Choose the members of the best stack that costs no more than a budget.

    Up to 12 members every subset is tried; with more, members are added one by one as long as the score rises.

    Args:
        ms_per_member: by member, ms an image
        budget: ms an image of all chosen members together
        score: of a subset, by the members' numbers, on held-out samples; see `mean_score`

    Returns:
        the chosen members in their order; of equal scores the cheapest

    Raises:
        ValueError: no member fits
    """
    names, costs = list(ms_per_member), list(ms_per_member.values())
    if not names or min(costs) > budget:
        cheapest = min(ms_per_member, key=lambda name: ms_per_member[name], default="")
        least = f": the cheapest, {cheapest}, takes {ms_per_member[cheapest]:.3g} ms" if names else ""
        raise ValueError(f"no member fits max_ms_per_image {budget:g}{least}; raise max_ms_per_image")

    def rank(members: tuple[int, ...]) -> tuple[float, float]:
        return score(members), -sum(costs[member] for member in members)

    def fits(members: tuple[int, ...]) -> bool:
        # sums of measured times are not exact
        return sum(costs[member] for member in members) <= budget * (1 + 1e-9)

    everyone = range(len(names))
    if len(names) <= EXHAUSTIVE_MEMBERS:
        subsets = (subset for size in everyone for subset in itertools.combinations(everyone, size + 1) if fits(subset))
        return [names[member] for member in max(subsets, key=rank)]
    chosen: tuple[int, ...] = ()
    while grown := [(*chosen, member) for member in everyone if member not in chosen and fits((*chosen, member))]:
        best = max(grown, key=rank)
        if chosen and score(best) <= score(chosen):
            break
        chosen = best
    return [names[member] for member in sorted(chosen)]


def best_member(held_out: Measured, members: Sequence[str]) -> str:
    """Return the member with the best accuracy, of equals that with the best likelihood.

    Args:
        held_out: accuracy and nll on held-out samples
        members: the candidates
    """
    points = held_out.points
    return max(members, key=lambda name: (points[name]["accuracy"], -points[name]["nll"]))


def by_simplicity(heads: Sequence[str]) -> list[str]:
    """Sort heads from simple to complex; unknown ones come last, in their order.

    Example:
        >>> by_simplicity(["mlp", "logistic on logits", "mean"])
        ['mean', 'logistic on logits', 'mlp']
    """
    return sorted(heads, key=lambda name: next((i for i, kind in enumerate(SIMPLICITY) if name.startswith(kind)), 99))


def beaten_by(
    held_out: Measured,
    model: str,
    others: Sequence[str],
    smallest_gain: float = SMALLEST_GAIN,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Tell which models beat another one, and in what: in accuracy, or in likelihood without losing accuracy.

    A gain must be beyond noise, for all models and both metrics together at a level of 5 %, and large enough to matter.

    Args:
        held_out: accuracy and nll on held-out samples
        model: the one that may be beaten
        others: those that may beat it
        smallest_gain: what matters, of accuracy or in nats
        replicates: resamples of the bootstrap
        seed: of its draws

    Returns:
        by model that beats it, the metrics in which it gains
    """
    if not others or held_out.units < MIN_UNITS:
        return {}
    better = gains_beyond_noise(held_out, others, model, replicates, seed)
    points = held_out.points

    def gains(other: str, metric: str) -> bool:
        gain = points[other][metric] - points[model][metric]
        return metric in better[other] and (gain if metric == "accuracy" else -gain) >= smallest_gain

    def loses(other: str) -> bool:
        high = held_out.difference(other, model, "accuracy")["high"]
        return high is not None and high < 0

    found = {name: [metric for metric in COMPARED if gains(name, metric)] for name in others}
    return {name: metrics for name, metrics in found.items() if metrics and ("accuracy" in metrics or not loses(name))}


def recommend(
    held_out: Measured,
    members: Sequence[str],
    heads: Sequence[str],
    samples: str = HELD_OUT,
    *,
    costs: Mapping[str, float | None] | None = None,
    smallest_gain: float = SMALLEST_GAIN,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Recommendation:
    """Recommend the simplest model that no more complex one beats.

    Models are gone through from simple to complex, each against all that are more complex, until one is not beaten. So
    where all are equally good, a more complex one is recommended in 5 % of cases.

    Args:
        held_out: accuracy and nll of members and heads on held-out samples: those that the members were not fitted on,
            with the heads cross-fitted and all calibrated
        members: names of the members; only the best is a candidate
        heads: names of the pooled models
        samples: what the reason calls the samples
        costs: by model, ms an image, where it was measured
        smallest_gain: see `beaten_by`
        replicates: resamples of the bootstrap
        seed: of its draws

    Returns:
        the model and the reason
    """
    best = best_member(held_out, members)
    order = [best, *by_simplicity(heads)]
    beaten: dict[str, dict[str, list[str]]] = {}
    for place, name in enumerate(order):
        beaten[name] = beaten_by(held_out, name, order[place + 1 :], smallest_gain, replicates, seed)
        if not beaten[name]:
            break
    chosen = name
    reasons = _reasons(held_out, order, chosen, beaten, samples)
    trained = [name for name in order[1:] if not name.startswith(("mean", "tuned_mean"))]
    helps = None
    if "tuned_mean" in order and trained:
        helps = chosen in trained
        if not helps and not beaten_by(held_out, "tuned_mean", trained, smallest_gain, replicates, seed):
            sure = beyond_noise(held_out.units)
            reasons.append(f"no head beats the tuned mean {sure}, so the simpler model is recommended")
    reasons += _price(chosen, best, costs or {})
    return Recommendation(chosen, f"Use {chosen}: {'; '.join(reasons)}.", best, helps, order)


def _price(chosen: str, best: str, costs: Mapping[str, float | None]) -> list[str]:
    price, least = costs.get(chosen), costs.get(best)
    if chosen == best or price is None or not least:
        return []
    return [f"it takes {price / least:.1f} times as long as {best} ({price:.3g} and {least:.3g} ms an image)"]


def _reasons(
    held_out: Measured, order: list[str], chosen: str, beaten: Mapping[str, Mapping[str, list[str]]], samples: str
) -> list[str]:
    place, samples, sure = order.index(chosen), f"{held_out.samples:,} {samples}", beyond_noise(held_out.units)
    simpler, rest = order[:place][-1:], order[place + 1 :]
    reasons = []
    for other in simpler:
        if gained := beaten[other].get(chosen):
            change = _versus(held_out, chosen, other, gained)
            reasons.append(f"it beats the simpler {other} {sure} ({change})")
        else:
            reasons.append(f"the simpler {other} is beaten {sure} by {', '.join(beaten[other])}")
    if rest:
        rival = min(rest, key=lambda name: held_out.points[name]["nll"])
        difference = _versus(held_out, rival, chosen)
        reasons.append(f"no more complex model beats it {sure}; the nearest, {rival}, differs by {difference}")
        if _seems_better(held_out, rival, chosen):
            reasons[-1] += ", which is no gain once all comparisons are taken together, or too small to matter"
    if not reasons:
        return ["there is nothing to compare it with"]
    return [f"on {samples} {reasons[0]}", *reasons[1:]]


def _seems_better(held_out: Measured, model: str, other: str) -> bool:
    # the interval of one comparison leaves out 0 more often than a claim over all of them is made
    accuracy, nll = (held_out.difference(model, other, metric) for metric in COMPARED)
    return bool((accuracy["low"] or 0) > 0 or (nll["high"] or 0) < 0)


def _versus(held_out: Measured, model: str, other: str, metrics: Sequence[str] = COMPARED) -> str:
    parts = []
    for metric in metrics:
        difference = held_out.difference(model, other, metric)
        text = f"{'NLL' if metric == 'nll' else metric} {difference['value']:+.4f}"
        if difference["low"] is not None:
            text += f" [{difference['low']:+.4f}, {difference['high']:+.4f}]"
        parts.append(text)
    return ", ".join(parts)
