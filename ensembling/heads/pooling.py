"""Heads that average the members' probabilities, equally, with tuned weights or by greedy selection, or their votes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from common.ranges import check_range
from ensembling.heads.base import HEAD_OPTION, Head

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(eq=False)
class _Averaging(Head):
    solved: ClassVar[bool] = True

    def build(self, num_bases: int, num_classes: int) -> "nn.Module":
        """Build a mean of probabilities with equal weights."""
        from ensembling.heads.networks import WeightedMean

        return WeightedMean(num_bases)


@dataclass(eq=False)
class MeanHead(_Averaging):
    """Mean of the members' probabilities; nothing is fitted."""

    name: ClassVar[str] = "mean"

    def solve(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Set equal weights."""
        from torch import nn

        nn.init.constant_(module.weight, 1 / logits.shape[1])  # type: ignore[arg-type]


@dataclass(eq=False)
class TunedMeanHead(_Averaging):
    """Weighted mean of the members' probabilities, with the weights that give the lowest NLL."""

    name: ClassVar[str] = "tuned_mean"

    def solve(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Find the weights."""
        from ensembling.heads.weights import set_weights, tuned_weights

        set_weights(module, tuned_weights(logits, labels))


@dataclass(eq=False)
class VoteHead(Head):
    """Majority vote of the members: each has one vote, and the shares of the votes are the probabilities.

    Ties go to the class of the highest mean probability among those with most votes. A class without a vote has a
    probability of a millionth, so that the NLL is finite. Nothing is fitted.
    """

    solved: ClassVar[bool] = True
    name: ClassVar[str] = "vote"

    def build(self, num_bases: int, num_classes: int) -> "nn.Module":
        """Build a vote with equal weights."""
        from ensembling.heads.networks import Vote

        return Vote(num_bases)

    def solve(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Set equal weights."""
        from torch import nn

        nn.init.constant_(module.weight, 1 / logits.shape[1])  # type: ignore[arg-type]


@dataclass(eq=False)
class GreedyHead(_Averaging):
    """Greedy selection of members with replacement, whose probabilities are then averaged.

    Caruana et al., Ensemble Selection from Libraries of Models, ICML 2004.

    Args:
        rounds: members to select, one a round; of the best selections on the way, the shortest is kept
        metric: what a member is selected by: nll or accuracy
    """

    rounds: int = 100
    metric: Literal["nll", "accuracy"] = "nll"
    name: ClassVar[str] = "greedy"

    def __post_init__(self) -> None:
        check_range(f"{HEAD_OPTION}.rounds", self.rounds, "[1, inf)")

    def solve(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Select members."""
        from ensembling.heads.weights import greedy_weights, set_weights

        set_weights(module, greedy_weights(logits, labels, self.rounds, self.metric))
