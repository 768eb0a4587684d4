"""What images are normalised by: the data's mean and standard deviation, those of loaded weights, or given ones."""

from collections.abc import Mapping
from typing import Literal

from common.ranges import in_words, is_within
from lightning_modules.weights import Weights

Normalization = Literal["auto", "data", "imagenet"] | dict[str, float | list[float]]
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def check_normalization(choice: Normalization, channels: int) -> None:
    """Refuse a mean and standard deviation that images cannot be normalised by.

    Args:
        choice: of `--model.normalization`
        channels: of the images

    Raises:
        ValueError: one is missing, has a number of values that does not fit, or is out of its range
    """
    if not isinstance(choice, Mapping):
        return
    option = "--model.normalization"
    if set(choice) != {"mean", "std"}:
        raise ValueError(f"{option} takes both mean and std, such as {{mean: [0.5], std: [0.25]}}, not {dict(choice)}")
    for name, interval in (("mean", "[0, 1]"), ("std", "(0, 1]")):
        values = as_list(choice[name])
        if len(values) not in (1, channels):
            raise ValueError(
                f"{option}.{name} has {len(values)} values, and the images have {channels} channel(s): give one "
                f"value for each, or one for all"
            )
        if not all(is_within(value, interval) for value in values):
            raise ValueError(
                f"{option}.{name} must be {in_words(interval)}, not {values}: pixels are on the scale [0, 1] (a "
                f"value for 0 to 255 is divided by 255)"
            )


def as_list(value: float | list[float]) -> list[float]:
    """Return a value, or several, as a list."""
    return list(value) if isinstance(value, list) else [value]


def statistics(
    choice: Normalization, data: tuple[list[float], list[float]], weights: Weights | None
) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel that images are normalised by.

    Args:
        choice: auto takes those that the weights were trained with, if they are known, and else the data's; a mean and
            std that are given are taken as they are
        data: those of the data
        weights: what the run starts from
    """
    if isinstance(choice, Mapping):
        given = [for_channels(as_list(choice[name]), len(data[0])) for name in ("mean", "std")]
        return given[0], given[1]
    if choice == "data" or (choice == "auto" and (weights is None or weights.statistics is None)):
        return data
    mean, std = (
        IMAGENET if choice == "imagenet" or weights is None or weights.statistics is None else weights.statistics
    )
    channels = len(data[0])
    return for_channels(mean, channels), for_channels(std, channels)


def for_channels(values: list[float], channels: int) -> list[float]:
    """Give every channel the mean over all, if there are others than there are values.

    Example:
        >>> for_channels([0.25, 0.5, 0.75], 1)
        [0.5]
    """
    return list(values) if len(values) == channels else [sum(values) / len(values)] * channels
