"""SmallCNN: two convolutions and a dense layer, small enough for a microcontroller."""

from torch import nn

from common.options import configurable
from lightning_modules.image_classifier import ImageClassifier


@configurable
class SmallCNN(ImageClassifier):
    """Unpadded 3x3 convolutions with 32 and 64 channels, each pooled, then a dense layer of 64."""

    def build_backbone(self) -> nn.Module:
        """Build convolutions and dense layer."""
        convolutions = nn.Sequential(
            nn.Conv2d(self.info.in_channels, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        return nn.Sequential(*convolutions, nn.Linear(self.flat_size(convolutions), 64), nn.ReLU())
