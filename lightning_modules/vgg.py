"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556)."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lightning_modules.classifier import ImageClassifier


@dataclass(eq=False, kw_only=True, repr=False)
class VGG(ImageClassifier):
    """VGG features, flattened into a dense layer of 64.

    Args:
        variant: number of layers
        freeze_features: train the dense layers alone
    """

    variant: Literal["16"] = "16"
    freeze_features: bool = True

    def build_backbone(self) -> nn.Module:
        """Build timm's features and the dense layer."""
        # slow to import, and not every model needs it
        import timm

        # timm's own dense layers are thrown away: make them small
        network = timm.create_model(f"vgg{self.variant}", in_chans=self.info.in_channels, num_classes=0, mlp_ratio=0.01)
        convolutions: nn.Module = network.features  # type: ignore[assignment]
        features = nn.Sequential(convolutions, nn.Flatten())
        features.requires_grad_(not self.freeze_features)
        return nn.Sequential(features, nn.Linear(self.flat_size(features), 64), nn.ReLU())
