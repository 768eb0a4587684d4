"""Optimizers over groups of parameters, each with its own learning rate and weight decay."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lightning_modules.training.optimizer_trial import Build, Rates, check_optimizer

# devices on which torch has one kernel for the step over all parameters of a group
FUSED_DEVICES = frozenset({"cpu", "cuda"})
# a parameter's rate: the name of its group, and its learning rate as a share of the optimizer's
Rate = tuple[str, float]


def learning_rates(
    backbone: nn.Module,
    head: nn.Module,
    stages: Mapping[str, list[nn.Parameter]],
    backbone_factor: float = 1.0,
    layer_decay: float = 1.0,
) -> dict[nn.Parameter, Rate]:
    """Say how fast each parameter learns.

    Args:
        backbone: in front of the head
        head: learns at the optimizer's rate
        stages: the backbone's parameters by stage, from input to embedding
        backbone_factor: rate of the backbone as a share of the head's
        layer_decay: each stage learns at this share of the rate of the stage after it (Clark et al. 2020,
            arXiv:2003.10555)
    """
    if backbone_factor == layer_decay == 1:
        return dict.fromkeys([*backbone.parameters(), *head.parameters()], ("model", 1.0))
    rates = dict.fromkeys(head.parameters(), ("head", 1.0))
    if layer_decay == 1:
        return rates | dict.fromkeys(backbone.parameters(), ("backbone", backbone_factor))
    for depth, (name, parameters) in enumerate(reversed(list(stages.items())), 1):
        rates |= dict.fromkeys(parameters, (name, backbone_factor * layer_decay**depth))
    return rates


def build_optimizer(build: Build, rates: Rates, decay_all: bool = False) -> Optimizer:
    """Build an optimizer over the trainable parameters, with fused kernels where torch has them.

    Biases, and scales and shifts of normalisations, are not decayed (He et al. 2019, arXiv:1812.01187).

    Args:
        build: makes the optimizer from groups of parameters; brings its rate and its weight decay
        rates: by parameter
        decay_all: decay biases and normalisations too

    Raises:
        OptionError: it cannot work on these parameters
    """
    assemble = partial(_assemble, decay_all=decay_all)
    check_optimizer(build, assemble, rates)
    return assemble(build, rates)


def _assemble(build: Build, rates: Rates, decay_all: bool) -> Optimizer:
    # the options are in a partial function or a closure: an optimizer that is built shows them
    options = build([nn.Parameter(torch.zeros(1, 1))]).defaults
    decays = bool(options.get("weight_decay")) and not decay_all
    groups: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for parameter, (name, factor) in rates.items():
        if parameter.requires_grad:
            groups.setdefault((name, factor, decays and parameter.ndim <= 1), []).append(parameter)
    names = [f"{name}, not decayed" if exempt else name for name, _, exempt in groups]
    # the learning-rate monitor names a single group by the optimizer
    optimizer = build(
        [
            {"params": found} | ({"name": name} if len(groups) > 1 else {})
            for name, found in zip(names, groups.values(), strict=True)
        ]
    )
    for group, (_, factor, exempt) in zip(optimizer.param_groups, groups, strict=True):
        group["lr"] *= factor
        if exempt:
            group["weight_decay"] = 0.0
        if can_be_fused(group):
            group["fused"] = True
    return optimizer


def can_be_fused(group: dict[str, Any]) -> bool:
    """Tell whether a group's step can be one kernel, and the user has not chosen otherwise.

    The group is set rather than the optimizer's option, which needs the device before the parameters are known.
    """
    chosen = any(group.get(name) for name in ("foreach", "differentiable", "capturable")) or group.get("fused") is False
    return (
        "fused" in group
        and not chosen
        and all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in group["params"])
    )
