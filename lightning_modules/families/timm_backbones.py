"""Backbones that timm builds, shared by the families that use it."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from torch import nn

# beginnings of names of models that are not timm's own
HUBS = ("hf-hub:", "hf_hub:", "local-dir:")
# keyword arguments of timm that other options set
RESERVED = {
    "pretrained": "use --model.pretrained",
    "num_classes": "the data says how many classes there are",
    "in_chans": "the data says how many channels there are",
    "checkpoint_path": "use --model.weights",
    "features_only": "a classifier needs the pooled embedding",
    "img_size": "use --model.input_size",
}


def timm_backbone(name: str, in_channels: int, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a timm model without its classifier.

    Args:
        name: timm's name of the architecture
        in_channels: channels of the images
        options: keyword arguments of timm

    Returns:
        a network from images to pooled embeddings `(batch, dim)`
    """
    # slow to import, and not every model needs it
    import timm

    return timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_channels, **(options or {}))


def pretrained_network(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a timm model with the weights that timm downloads, or has downloaded before.

    Args:
        name: timm's name of the architecture
        options: keyword arguments of timm

    Raises:
        OSError: they cannot be had; the message says how to do without a network
        ValueError: there are none
    """
    import timm

    if not name.startswith(HUBS) and (known := timm.get_pretrained_cfg(name)) is not None and not known.has_weights:
        raise ValueError(
            f"--model.pretrained: timm knows {name}, but has no weights of it; name another architecture, or use "
            f"--model.weights FILE"
        )
    try:
        return timm.create_model(name, pretrained=True, **options)
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
    known = pretrained_config(name)
    return list(known["mean"]), list(known["std"])


def pretrained_config(name: str) -> dict[str, Any]:
    """Return what timm knows of an architecture's weights: `input_size`, `mean`, `std`, `fixed_input_size`, ...

    Args:
        name: timm's name of the architecture, perhaps with a tag or on a hub

    Raises:
        ValueError: there is none of this name; the message names the three that are nearest
    """
    check_name(name)
    if name.startswith(HUBS):
        return hub_config(name)
    import timm

    known = timm.get_pretrained_cfg(name)
    if known is None:
        raise ValueError(f"--model.name {name}: timm keeps no configuration of it; name another architecture")
    return dict(known.to_dict())


@cache
def hub_config(name: str) -> dict[str, Any]:
    """Return the configuration of a model on a hub, which is downloaded once.

    Args:
        name: such as hf-hub:timm/resnet18.a1_in1k

    Raises:
        OSError: it cannot be had
    """
    from timm.models import load_model_config_from_hf, parse_model_name

    try:
        config, _, _ = load_model_config_from_hf(parse_model_name(name)[1])
    except Exception as error:
        # without a network any of three libraries raises errors of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(f"--model.name {name}: it cannot be had from its hub ({reason}); name a model of timm") from error
    return dict(config)


def check_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Args:
        name: of an architecture

    Raises:
        ValueError: there is none; the message names the three that are nearest
    """
    if name.startswith(HUBS):
        return
    import timm

    architecture, dot, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.4)
        hint = f"; the nearest are {', '.join(close)}" if close else "; timm.list_models() lists all"
        raise ValueError(f"--model.name {name}: timm has no architecture of this name{hint}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if dot and tag not in tags:
        known = ", ".join(tags) or "none"
        raise ValueError(f"--model.name {name}: timm has no weights of {architecture} tagged {tag!r} (known: {known})")


def check_options(options: Collection[str]) -> None:
    """Refuse keyword arguments of timm that other options set.

    Args:
        options: their names

    Raises:
        ValueError: some are
    """
    taken = [f"--model.options.{option}: {RESERVED[option]}" for option in options if option in RESERVED]
    if taken:
        raise ValueError("; ".join(taken))


def named_backbone(name: str, in_channels: int, options: Mapping[str, Any]) -> nn.Module:
    """Build any timm model without its classifier.

    Args:
        name: timm's name of the architecture
        in_channels: channels of the images
        options: keyword arguments of timm

    Returns:
        a network from images to pooled embeddings `(batch, dim)`

    Raises:
        ValueError: the name is unknown, or the architecture does not take an option
    """
    import timm

    check_name(name)
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_channels, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
        refused = next((option for option in options if f"'{option}'" in str(error)), None)
        if refused == "img_size":
            height, width = pretrained_config(name)["input_size"][-2:]
            raise ValueError(
                f"timm's {name} takes images of {height}x{width} pixels alone: set --model.input_size {height}"
            ) from error
        given = f"--model.options.{refused}" if refused else f"--model.options {dict(options)}"
        raise ValueError(
            f"{given}: timm's {name} does not take it ({str(error).strip() or 'no reason given'})"
        ) from error


def matched_stages(backbone: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Divide a timm network's parameters into its layers, as timm's own `group_matcher` does.

    Args:
        backbone: built by timm

    Returns:
        the parameters of each layer by the layer's name, from input to embedding; nothing if the network has no
        `group_matcher`
    """
    matcher: Any = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return {}
    from timm.models import group_parameters

    groups: dict[int, list[str]] = {}
    for name, number in group_parameters(backbone, matcher(), reverse=True).items():
        groups.setdefault(number, []).append(name)
    parameters = dict(backbone.named_parameters())
    return {
        layer_name(groups[number], parameters): [parameters[name] for name in groups[number]]
        for number in sorted(groups)
    }


def layer_name(group: Sequence[str], names: Collection[str]) -> str:
    """Name a layer by the largest module that is wholly in it.

    Args:
        group: names of the layer's parameters
        names: those of all parameters

    Example:
        >>> layer_name(["cls_token", "embed.weight"], ["cls_token", "embed.weight", "blocks.0.weight"])
        'embed'
    """
    own = set(group)
    for name in group:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            module = ".".join(parts[:depth])
            if all(other in own for other in names if other.startswith(f"{module}.")):
                return module
    return group[0]
