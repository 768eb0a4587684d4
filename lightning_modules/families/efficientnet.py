"""EfficientNet (Tan and Le 2019, arXiv:1905.11946), V2 (2021, arXiv:2104.00298) and Lite."""

from typing import Literal

from torch import nn

from common.options import configurable
from lightning_modules.families.timm_backbones import timm_backbone
from lightning_modules.image_classifier import ImageClassifier

TIMM_NAMES = {
    "b0": "efficientnet_b0",
    "v2_b0": "tf_efficientnetv2_b0",
    "v2_b1": "tf_efficientnetv2_b1",
    "v2_b2": "tf_efficientnetv2_b2",
    "v2_b3": "tf_efficientnetv2_b3",
    "v2_s": "tf_efficientnetv2_s",
    "v2_rw_t": "efficientnetv2_rw_t",
    "lite0": "tf_efficientnet_lite0",
    "lite1": "tf_efficientnet_lite1",
    "lite2": "tf_efficientnet_lite2",
}


@configurable
class EfficientNet(ImageClassifier):
    """EfficientNet B0, the V2 family and the Lite family.

    Args:
        variant: member of the family
    """

    variant: Literal["b0", "v2_b0", "v2_b1", "v2_b2", "v2_b3", "v2_s", "v2_rw_t", "lite0", "lite1", "lite2"] = "b0"

    @property
    def timm_name(self) -> str:
        """Name the architecture as timm does."""
        return TIMM_NAMES[self.variant]

    def build_backbone(self) -> nn.Module:
        """Build timm's network."""
        return timm_backbone(self.timm_name, self.info.in_channels)
