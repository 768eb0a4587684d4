"""Output shapes of networks, found without computing anything."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


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


def layer_shapes(network: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Find the output shape of each module of a network without computing anything.

    Args:
        network: takes a batch of this shape
        input_shape: of one sample

    Returns:
        the shape of one sample's output by the module's name, that of the network itself by the empty one; modules
        that are not run, or give no tensor, are left out, and of those that run several times the last counts
    """
    copy, found = meta_copy(network), dict[str, tuple[int, ...]]()

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found[name] = tuple(output.shape[1:])

        return hook

    for name, module in copy.named_modules():
        module.register_forward_hook(note(name))
    try:
        with torch.no_grad():
            copy(torch.empty((2, *input_shape), device="meta"))
    except (RuntimeError, AssertionError, ValueError, NotImplementedError):
        # a table does without them
        return {}
    return found


def meta_copy(network: nn.Module) -> nn.Module:
    """Copy a network's structure in evaluation mode, without its weights: the meta device has shapes alone."""
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
        for weight in network.parameters()
    }
    memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    return deepcopy(network, memo).eval()
