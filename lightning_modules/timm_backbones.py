"""Backbones that timm builds, shared by the families that use it."""

from torch import nn


def timm_backbone(name: str, in_channels: int) -> nn.Module:
    """Build a timm model without its classifier.

    Args:
        name: timm's name of the architecture
        in_channels: channels of the images

    Returns:
        a network from images to pooled embeddings `(batch, dim)`
    """
    # slow to import, and not every model needs it
    import timm

    return timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_channels)
