"""ResNet (He et al. 2016, arXiv:1512.03385)."""

from typing import Any, ClassVar, Literal

from torch import nn

from common.options import configurable
from lightning_modules.families.timm_backbones import timm_backbone
from lightning_modules.image_classifier import ImageClassifier

# of the published networks' four stages
CHANNELS = (64, 128, 256, 512)


@configurable
class ResNet(ImageClassifier):
    """Residual networks of 18, 34 or 50 layers.

    Args:
        variant: number of layers
        stem: imagenet halves the image twice before the first block; cifar (3x3, stride 1, no pooling) keeps small
            images whole
        width: times as many channels after the stem as the published network (Zagoruyko and Komodakis 2016,
            arXiv:1605.07146)
    """

    variant: Literal["18", "34", "50"] = "18"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    width: float = 1.0

    ranges: ClassVar[dict[str, str]] = ImageClassifier.ranges | {"width": "[0.0625, 16]"}

    def check_options(self) -> None:
        """Refuse options that are out of their ranges, or contradict each other."""
        super().check_options()
        if self.width != 1 and self.pretrained:
            raise ValueError(
                f"--model.width {self.width} and --model.pretrained true exclude each other: timm has weights of width "
                f"1 alone"
            )

    @property
    def timm_name(self) -> str:
        """Name the architecture as timm does."""
        return f"resnet{self.variant}"

    @property
    def timm_options(self) -> dict[str, Any]:
        """Keyword arguments that timm builds the architecture with."""
        return {} if self.width == 1 else {"channels": tuple(round(count * self.width) for count in CHANNELS)}

    def build_backbone(self) -> nn.Module:
        """Build timm's network and give it the stem."""
        backbone = timm_backbone(self.timm_name, self.info.in_channels, self.timm_options)
        if self.stem == "cifar":
            backbone.conv1 = nn.Conv2d(self.info.in_channels, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
            backbone.maxpool = nn.Identity()
        return backbone
