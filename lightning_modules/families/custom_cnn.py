"""CustomCNN: blocks of two convolutions, pooled globally."""

from dataclasses import field
from typing import ClassVar

from torch import nn

from common.options import configurable
from lightning_modules.image_classifier import ImageClassifier


@configurable
class CustomCNN(ImageClassifier):
    """Blocks of two 3x3 convolutions with BatchNorm, each pooled, then global pooling and a dense layer.

    Args:
        channels: channels of each block
        dense: width of the dense layer
        dropout: share of activations dropped before the head, in [0, 1)
    """

    channels: list[int] = field(default_factory=lambda: [64, 128, 256, 512])
    dense: int = 256
    dropout: float = 0.5

    ranges: ClassVar[dict[str, str]] = {
        **ImageClassifier.ranges,
        "channels": "[1, inf)",
        "dense": "[1, inf)",
    }

    @property
    def head_dropout(self) -> float:
        """None more: the backbone drops by itself."""
        return 0.0

    def build_backbone(self) -> nn.Module:
        """Build blocks and dense layer."""
        if not self.channels:
            raise ValueError("--model.channels must name at least one block")
        layers: list[nn.Module] = []
        width = self.info.in_channels
        for following in self.channels:
            for _ in range(2):
                layers += [nn.Conv2d(width, following, 3, padding=1), nn.BatchNorm2d(following), nn.ReLU()]
                width = following
            layers.append(nn.MaxPool2d(2))
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, self.dense), nn.ReLU()]
        return nn.Sequential(*layers, nn.Dropout(self.dropout))
