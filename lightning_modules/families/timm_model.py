"""Any backbone of timm, by its name."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from torch import nn

from common.options import configurable
from lightning_modules.families.timm_backbones import (
    check_options,
    matched_stages,
    named_backbone,
    pretrained_config,
    pretrained_statistics,
)
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.normalization import for_channels
from lightning_modules.weights import Weights


@configurable
class Timm(ImageClassifier):
    """Any architecture of timm as a backbone, by its name.

    Images are resized to the size that timm's weights of the architecture were trained with, and normalised as they
    were, unless `input_size` and `normalization` say otherwise. `freeze` and `layer_decay` go by timm's own layers.

    Args:
        name: timm's name, such as convnext_nano or vit_tiny_patch16_224, with a tag (resnet18.a1_in1k) or on a hub
            (hf-hub:timm/resnet18.a1_in1k, which needs a network)
        options: keyword arguments of timm for this architecture, such as {drop_path_rate: 0.1}
    """

    name: str = "resnet18"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def timm_name(self) -> str:
        """Name the architecture as timm does."""
        return self.name

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the backbone takes, in pixels."""
        if self.input_size is not None:
            return self.input_size, self.input_size
        height, width = pretrained_config(self.name)["input_size"][-2:]
        return height, width

    @property
    def timm_options(self) -> dict[str, Any]:
        """Keyword arguments of timm, with the image size where the architecture is built for one."""
        check_options(self.options)
        fixed = pretrained_config(self.name).get("fixed_input_size", False)
        return {**self.options, **({"img_size": self.size} if fixed else {})}

    def build_backbone(self) -> nn.Module:
        """Build timm's network."""
        backbone = named_backbone(self.name, self.info.in_channels, self.timm_options)
        patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
        side = max(patch) if isinstance(patch, Sequence) else patch
        if any(pixels % side for pixels in self.size):
            # timm would leave the rest of the image out
            raise ValueError(
                f"timm's {self.name} cuts images into patches of {side} pixels, and images of "
                f"{self.size[0]}x{self.size[1]} are no multiple of that: set --model.input_size"
            )
        return backbone

    def statistics(self, weights: Weights | None) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel: timm's own, unless weights or options say otherwise."""
        if self.normalization != "auto" or (weights is not None and weights.statistics is not None):
            return super().statistics(weights)
        mean, std = pretrained_statistics(self.name)
        channels = self.info.in_channels
        return for_channels(mean, channels), for_channels(std, channels)

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Divide the backbone's parameters as timm does, from its input to its embedding."""
        return matched_stages(self.backbone) or super().stages()

    def _size_error(self, network: nn.Module) -> str:
        height, width = pretrained_config(self.name)["input_size"][-2:]
        return (
            f"timm's {self.name} cannot take images of {self.size[0]}x{self.size[1]} pixels: "
            f"set --model.input_size to {max(height, width)}, which it was made for, or to another size that it takes"
        )
