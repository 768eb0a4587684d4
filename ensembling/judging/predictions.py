"""What a stack's models say of the same samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ensembling.logits import mean_logits, mean_of_folds
from measures.influence import check_logits

MEAN, TUNED_MEAN = "mean", "tuned_mean"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits of the members and of the heads on the same samples, before any temperature.

    Args:
        labels: int64, shape `(sample,)`
        members: by member, shape `(sample, class)`
        heads: by head, shape `(sample, class)`; of held-out samples these must be cross-fitted
        groups: of samples that are not independent, such as images of one patient, shape `(sample,)`
        folds: by model, the logits of each fold's run, whose mean probability is the model's, shape
            `(sample, fold, class)`; a model that is not in it is a single run
    """

    labels: Tensor
    members: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]
    groups: Tensor | None = None
    folds: Mapping[str, Tensor] = field(default_factory=dict)

    def models(self) -> dict[str, Tensor]:
        """Return members and heads by name."""
        return {**self.members, **self.heads}

    def scaled(self, temperatures: Mapping[str, float]) -> dict[str, Tensor]:
        """Return the logits of each model after its temperature, which is each fold's: it was fitted on single runs.

        Args:
            temperatures: by model; a model without one stays as it is
        """
        runs = {name: self.folds.get(name, logits[:, None]) for name, logits in self.models().items()}
        return {name: mean_of_folds(rows.double() / temperatures.get(name, 1.0)) for name, rows in runs.items()}

    def with_mean(self) -> "Predictions":
        """Return these with the mean of the members' probabilities, if it is not among the heads."""
        if MEAN in self.heads:
            return self
        mean = mean_logits(torch.stack(list(self.members.values()), 1))
        return replace(self, heads={MEAN: mean, **self.heads})

    def check(self, split: str) -> None:
        """Refuse what nothing can be computed from.

        Args:
            split: for the message

        Raises:
            ValueError: logits that are not finite or do not fit, no member, or a name that is used twice
        """
        if not self.members:
            raise ValueError(f"{split}: a report needs at least one member")
        # the mean is among the heads of every report
        if twice := sorted(set(self.members) & {MEAN, *self.heads}):
            raise ValueError(f"{split}: {', '.join(twice)} names a member and a head: name the member otherwise")
        for name, logits in self.models().items():
            check_logits(f"{split}, {name}", logits, self.labels)
        widths = {name: logits.shape[1] for name, logits in self.models().items()}
        if len(set(widths.values())) > 1:
            raise ValueError(f"{split}: models differ in their number of classes: {widths}")
        if self.groups is not None and len(self.groups) != len(self.labels):
            raise ValueError(f"{split}: {len(self.groups)} groups for {len(self.labels)} samples")
