"""The meta-MLPNetwork."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from common.ranges import check_range, check_ranges
from ensembling.choices import Features
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
}


@dataclass(eq=False)
class MLPHead(Head):
    """Fully connected layers with ReLU and dropout, trained in epochs.

    The options from epochs on are those of a stack's own short training; `fit` of a StackingModule trains by the
    Trainer's epochs and --model.optimizer instead.

    Args:
        hidden: width of each hidden layer
        dropout: share of activations dropped after each hidden layer, in [0, 1)
        features: what the head sees of each member
        epochs: at most
        patience: epochs without a lower NLL of held-out samples before training stops
        held_share: share of the samples that is held out to know when to stop, in (0, 0.5]
        batch_size: samples a step; null makes about 50 steps an epoch
        learning_rate: of AdamW
        weight_decay: of AdamW
    """

    hidden: list[int] = field(default_factory=lambda: [128, 128])
    dropout: float = 0.3
    features: Features = "logits"
    epochs: int = 50
    patience: int = 5
    held_share: float = 0.1
    batch_size: int | None = None
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    name: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        check_ranges(HEAD_OPTION, self, RANGES)
        check_range(f"{HEAD_OPTION}.hidden", self.hidden, "[1, inf)")

    def build(self, num_bases: int, num_classes: int) -> "nn.Module":
        """Build the layers."""
        from torch import nn

        from ensembling.heads.networks import MLPNetwork

        width = inputs = num_bases * num_classes
        layers: list[nn.Module] = []
        for hidden in self.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(self.dropout)]
            width = hidden
        return MLPNetwork(self.features, nn.Sequential(*layers, nn.Linear(width, num_classes)), inputs)

    def fit(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Train with AdamW; keep the weights with the lowest NLL of the held-out samples."""
        from ensembling.heads.mlp_training import fit_mlp

        fit_mlp(self, module, logits, labels, seed, groups)
