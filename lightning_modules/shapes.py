"""Output shapes of networks, found without computing anything."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn


def output_shape(network: nn.Module, input_shape: tuple[int, int, int]) -> tuple[int, ...] | None:
    """Find a network's output shape without computing anything.

    Args:
        network: takes `(batch, channel, height, width)`
        input_shape: channel, height and width

    Returns:
        the shape of one sample's output, or None if the network cannot take this input
    """
    try:
        with torch.no_grad():
            output = meta_copy(network)(torch.empty((2, *input_shape), device="meta"))
    except (RuntimeError, AssertionError, ValueError):
        return None
    return tuple(output.shape[1:]) if output.numel() else None


def meta_copy(network: nn.Module) -> nn.Module:
    """Copy a network's structure in evaluation mode, without its weights: the meta device has shapes alone."""
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
        for weight in network.parameters()
    }
    memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    return deepcopy(network, memo).eval()
