"""EfficientNet (Tan and Le 2019, arXiv:1905.11946), V2 (2021, arXiv:2104.00298) and Lite."""

from typing import Any, Literal

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
    "v2_s_torchvision": "efficientnetv2_s",
    "v2_rw_t": "efficientnetv2_rw_t",
    "lite0": "tf_efficientnet_lite0",
    "lite1": "tf_efficientnet_lite1",
    "lite2": "tf_efficientnet_lite2",
}


@configurable
class EfficientNet(ImageClassifier):
    """EfficientNet B0, the V2 family and the Lite family.

    Args:
        variant: member of the family; v2_s pads its convolutions as TensorFlow does, and v2_s_torchvision as
            torchvision does, so that torchvision's weights fit
    """

    variant: Literal[
        "b0", "v2_b0", "v2_b1", "v2_b2", "v2_b3", "v2_s", "v2_s_torchvision", "v2_rw_t", "lite0", "lite1", "lite2"
    ] = "b0"

    def check_options(self) -> None:
        """Refuse options that are out of their ranges, or contradict each other."""
        super().check_options()
        if self.pretrained and self.variant == "v2_s_torchvision":
            raise ValueError(
                "--model.pretrained: timm has no weights for v2_s_torchvision; download torchvision's "
                "(efficientnet_v2_s-dd5fe13b.pth) and name the file by --model.weights"
            )

    @property
    def timm_name(self) -> str:
        """Name the architecture as timm does."""
        return TIMM_NAMES[self.variant]

    @property
    def timm_options(self) -> dict[str, Any]:
        """Keyword arguments that timm builds the architecture with."""
        return {"bn_eps": 1e-3} if self.variant == "v2_s_torchvision" else {}

    def build_backbone(self) -> nn.Module:
        """Build timm's network."""
        return timm_backbone(self.timm_name, self.info.in_channels, self.timm_options)
