"""ResNet (He et al. 2016, arXiv:1512.03385)."""

from typing import Literal

from torch import nn

from common.options import configurable
from lightning_modules.families.timm_backbones import timm_backbone
from lightning_modules.image_classifier import ImageClassifier


@configurable
class ResNet(ImageClassifier):
    """Residual networks of 18, 34 or 50 layers.

    Args:
        variant: number of layers
        stem: imagenet halves the image twice before the first block; cifar (3x3, stride 1, no pooling) keeps small
            images whole
    """

    variant: Literal["18", "34", "50"] = "18"
    stem: Literal["imagenet", "cifar"] = "imagenet"

    @property
    def timm_name(self) -> str:
        """Name the architecture as timm does."""
        return f"resnet{self.variant}"

    def build_backbone(self) -> nn.Module:
        """Build timm's network and give it the stem."""
        backbone = timm_backbone(self.timm_name, self.info.in_channels)
        if self.stem == "cifar":
            backbone.conv1 = nn.Conv2d(self.info.in_channels, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
            backbone.maxpool = nn.Identity()
        return backbone
