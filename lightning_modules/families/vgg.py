"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556)."""

from collections import OrderedDict
from typing import ClassVar, Literal

from torch import nn

from common.options import configurable
from lightning_modules.image_classifier import ImageClassifier


@configurable
class VGG(ImageClassifier):
    """VGG features, flattened into a dense layer of 64.

    Args:
        variant: number of layers
    """

    variant: Literal["16"] = "16"

    not_transferred: ClassVar[tuple[str, ...]] = ("dense",)

    @property
    def timm_name(self) -> str:
        """Name the architecture as timm does."""
        return f"vgg{self.variant}"

    def build_backbone(self) -> nn.Module:
        """Build timm's features and the dense layer."""
        # slow to import, and not every model needs it
        import timm

        # timm's own dense layers are thrown away: make them small
        network = timm.create_model(self.timm_name, in_chans=self.info.in_channels, num_classes=0, mlp_ratio=0.01)
        features: nn.Module = network.features  # type: ignore[assignment]
        flatten = nn.Flatten()
        dense = nn.Linear(self.flat_size(nn.Sequential(features, flatten)), 64)
        return nn.Sequential(OrderedDict(features=features, flatten=flatten, dense=dense, activation=nn.ReLU()))
