"""The meta-MLP."""

import copy
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from common.ranges import check_range, check_ranges
from ensembling.folds import meta_folds
from ensembling.heads.base import HEAD_OPTION, Head, check_meta_samples
from ensembling.logits import Features, to_features

# batches an epoch where no batch size is given
STEPS = 50
RANGES = {
    "dropout": "[0, 1)",
    "held_share": "(0, 0.5]",
    "epochs": "[1, inf)",
    "patience": "[1, inf)",
    "batch_size": "[1, inf)",
    "learning_rate": "(0, inf)",
    "weight_decay": "[0, inf)",
}


class MLP(nn.Module):
    """Features of members' logits, standardised, through fully connected layers.

    Args:
        features: what the layers see of each member
        layers: from `(batch, base * class)` to `(batch, class)`
        width: number of features
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Features, layers: nn.Sequential, width: int) -> None:
        super().__init__()
        self.features = features
        self.layers = layers
        # as they are, unless a fit sets them
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, logits: Tensor) -> Tensor:
        """Pool logits `(batch, base, class)` to logits `(batch, class)`."""
        x = to_features(logits.to(self.mean.dtype), self.features)
        return self.layers((x - self.mean) / self.scale)


@dataclass(eq=False)
class MLPHead(Head):
    """Fully connected layers with ReLU and dropout, trained in epochs.

    The options from epochs on are those of a stack's own short training; `fit` of a StackingModule trains by the
    Trainer's epochs and --model.optimizer instead.

    Args:
        hidden: width of each hidden layer
        dropout: share of activations dropped after each hidden layer, in [0, 1)
        features: what the head sees of each base
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

    def build(self, num_bases: int, num_classes: int) -> nn.Module:
        """Build the layers."""
        width = inputs = num_bases * num_classes
        layers: list[nn.Module] = []
        for hidden in self.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(self.dropout)]
            width = hidden
        return MLP(self.features, nn.Sequential(*layers, nn.Linear(width, num_classes)), inputs)

    def fit(
        self, module: nn.Module, logits: Tensor, labels: Tensor, seed: int = 0, groups: Tensor | None = None
    ) -> None:
        """Train with AdamW; keep the weights with the lowest NLL of the held-out samples."""
        assert isinstance(module, MLP)
        check_meta_samples(logits, labels, logits.shape[2], finite=self.features == "logits")
        held = meta_folds(labels, round(1 / self.held_share), seed, groups, lower=False) == 0
        x = to_features(logits.float(), self.features)
        module.mean.copy_(x[~held].mean(0))
        scale = x[~held].std(0, unbiased=False)
        # a feature that is constant here may be anything later: it is not blown up
        module.scale.copy_(torch.where(scale > 1e-6 * (1 + module.mean.abs()), scale, torch.ones_like(scale)))
        x = (x - module.mean) / module.scale
        with torch.random.fork_rng(devices=[]):
            # of dropout
            torch.manual_seed(seed)
            self._train(module.layers, (x[~held], labels[~held]), (x[held], labels[held]), seed)
        module.eval()

    def _train(self, layers: nn.Module, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], seed: int) -> None:
        x, y = train
        size = self.batch_size or min(max(len(x) // STEPS, 32), 1024)
        optimizer = torch.optim.AdamW(layers.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        order = torch.Generator().manual_seed(seed)
        best, best_state, since = torch.inf, copy.deepcopy(layers.state_dict()), 0
        for _ in range(self.epochs):
            layers.train()
            for rows in torch.randperm(len(x), generator=order).split(size):
                loss = nn.functional.cross_entropy(layers(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
            layers.eval()
            with torch.no_grad():
                nll = float(nn.functional.cross_entropy(layers(held[0]), held[1]))
            since += 1
            if nll < best:
                best, best_state, since = nll, copy.deepcopy(layers.state_dict()), 0
            if since >= self.patience:
                break
        layers.load_state_dict(best_state)
