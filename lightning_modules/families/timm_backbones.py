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


def pretrained_network(name: str) -> nn.Module:
    """Build a timm model with the weights that timm downloads, or has downloaded before.

    Args:
        name: timm's name of the architecture

    Raises:
        OSError: they cannot be had; the message says how to do without a network
    """
    import timm

    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:
        # without a network any of three libraries raises errors of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"--model.pretrained: timm cannot get its weights of {name} ({reason}). Without a network, download them "
            f"elsewhere, copy the file here and name it: --model.weights FILE"
        ) from error


def pretrained_origin(name: str) -> str:
    """Name timm's weights of an architecture as timm does.

    Args:
        name: timm's name of the architecture
    """
    import timm

    known = timm.get_pretrained_cfg(name)
    assert known is not None
    return f"timm's {name}.{known.tag}" if known.tag else f"timm's {name}"


def pretrained_statistics(name: str) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel that timm's weights of an architecture were trained with.

    Args:
        name: timm's name of the architecture
    """
    import timm

    known = timm.get_pretrained_cfg(name)
    assert known is not None
    return list(known.mean), list(known.std)
