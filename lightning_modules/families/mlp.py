"""Linear and MLP: classifiers on flattened pixels."""

from dataclasses import field
from typing import ClassVar

from torch import nn

from common.options import configurable
from lightning_modules.image_classifier import ImageClassifier


@configurable
class Linear(ImageClassifier):
    """Softmax regression on pixels."""

    def build_backbone(self) -> nn.Module:
        """Flatten."""
        return nn.Flatten()


@configurable
class MLP(ImageClassifier):
    """Fully connected layers, each with BatchNorm, ReLU and dropout.

    Args:
        hidden: width of each hidden layer
        dropout: share of activations dropped after each hidden layer, in [0, 1)
    """

    hidden: list[int] = field(default_factory=lambda: [256, 256])
    dropout: float = 0.3

    ranges: ClassVar[dict[str, str]] = {**ImageClassifier.ranges, "hidden": "[1, inf)"}

    @property
    def head_dropout(self) -> float:
        """None more: the backbone drops by itself."""
        return 0.0

    def build_backbone(self) -> nn.Module:
        """Build the hidden layers."""
        flatten = nn.Flatten()
        layers: list[nn.Module] = [flatten]
        width = self.flat_size(flatten)
        for following in self.hidden:
            layers += [nn.Linear(width, following), nn.BatchNorm1d(following), nn.ReLU(), nn.Dropout(self.dropout)]
            width = following
        return nn.Sequential(*layers)
