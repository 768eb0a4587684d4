"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545)."""

from typing import Literal

from torch import nn

from common.options import configurable
from lightning_modules.families.timm_backbones import timm_backbone
from lightning_modules.image_classifier import ImageClassifier


@configurable
class ConvNeXt(ImageClassifier):
    """ConvNeXt tiny and small.

    Args:
        variant: member of the family
    """

    variant: Literal["tiny", "small"] = "tiny"

    @property
    def timm_name(self) -> str:
        """Name the architecture as timm does."""
        return f"convnext_{self.variant}"

    def build_backbone(self) -> nn.Module:
        """Build timm's network."""
        return timm_backbone(self.timm_name, self.info.in_channels)
