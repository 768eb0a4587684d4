"""The MLP head: fully connected layers, trained in epochs."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from common.ranges import OptionError, check_range, check_ranges
from ensembling.choices import Features, MetaOptimizer, MetaSchedule
from ensembling.heads.base import HEAD_OPTION, Head

if TYPE_CHECKING:
    from torch import Tensor, nn

RANGES = {
    "dropout": "[0, 1)",
    "held_share": "(0, 0.5]",
    "epochs": "[1, inf)",
    "patience": "[1, inf)",
    "batch_size": "[1, inf)",
    "learning_rate": "(0, inf)",
    "weight_decay": "[0, inf)",
    "clip": "(0, inf)",
}


@dataclass(eq=False)
class MLPHead(Head):
    """Fully connected layers with ReLU and dropout, trained in epochs.

    The options from epochs on are those of a stack's own short training; `fit` of a StackingModule trains by the
    Trainer's epochs and --model.optimizer instead.

    Args:
        hidden: width of each hidden layer
        dropout: share of activations dropped after each hidden layer, in [0, 1), or a list with that of each layer
        features: what the head sees of each member
        standardize: give each feature a mean of 0 and a deviation of 1
        epochs: at most
        patience: epochs without a lower NLL of held-out samples before training stops; null holds no sample out, trains
            all epochs and keeps the last
        held_share: share of the samples that is held out to know when to stop, in (0, 0.5]
        batch_size: samples a step; null makes about 50 steps an epoch
        optimizer: adamw, adam, or sgd with a momentum of 0.9
        learning_rate: of the optimizer
        weight_decay: of the optimizer
        schedule: of the learning rate: cosine lets it fall to 0 over the epochs, constant keeps it
        clip: largest norm of the gradient of a step, above which it is scaled down; null clips nothing
    """

    hidden: list[int] = field(default_factory=lambda: [128, 128])
    dropout: float | list[float] = 0.3
    features: Features = "logits"
    standardize: bool = True
    epochs: int = 50
    patience: int | None = 5
    held_share: float = 0.1
    batch_size: int | None = None
    optimizer: MetaOptimizer = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    schedule: MetaSchedule = "cosine"
    clip: float | None = None
    name: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        check_ranges(HEAD_OPTION, self, RANGES)
        check_range(f"{HEAD_OPTION}.hidden", self.hidden, "[1, inf)")
        if isinstance(self.dropout, list) and len(self.dropout) != len(self.hidden):
            raise OptionError(
                f"{HEAD_OPTION}.dropout",
                f"must be one number, or one for each of the {len(self.hidden)} hidden layers, not {self.dropout}",
            )

    @property
    def dropouts(self) -> list[float]:
        """Share of activations dropped after each hidden layer."""
        return self.dropout if isinstance(self.dropout, list) else [self.dropout] * len(self.hidden)

    def build(self, num_bases: int, num_classes: int) -> "nn.Module":
        """Build the layers."""
        from torch import nn

        from ensembling.heads.networks import MLPNetwork

        width = inputs = num_bases * num_classes
        layers: list[nn.Module] = []
        for hidden, dropout in zip(self.hidden, self.dropouts, strict=True):
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)]
            width = hidden
        return MLPNetwork(self.features, nn.Sequential(*layers, nn.Linear(width, num_classes)), inputs)

    def fit(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Train; keep the weights with the lowest NLL of the held-out samples, or the last if none are held out."""
        from ensembling.heads.mlp_training import fit_mlp

        fit_mlp(self, module, logits, labels, seed, groups)
