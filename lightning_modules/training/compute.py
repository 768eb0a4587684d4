"""How a network is computed, as against what it computes."""

import os
import shutil
import sys

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins import DoublePrecision, HalfPrecision
from torch import Tensor, nn


def compile_module(network: nn.Module) -> None:
    """Compile a network's forward and backward pass in place; once is enough.

    The call is compiled, as `nn.Module.compile` does, rather than the module wrapped as `torch.compile(network)` does:
    names in checkpoints stay, and a copy is not compiled. Kernels are made for the first batch's size and, when the
    shorter last batch of an epoch comes, once more for any size.

    Args:
        network: is compiled when it is first called
    """
    if network._compiled_call_impl is None:

        def call(images: Tensor) -> Tensor:
            # a frame of its own: torch skips those of its own modules, so nn.Sequential.compile() compiles nothing
            return network._call_impl(images)

        network._compiled_call_impl = torch.compile(call)


def check_compiler(device: torch.device) -> None:
    """Refuse to compile for a CPU without a C++ compiler: torch's own error would come late and name no option.

    Args:
        device: that the network will run on

    Raises:
        ValueError: there is no compiler
    """
    name = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if device.type == "cpu" and shutil.which(name) is None:
        raise ValueError(
            f"--model.torch_compile true needs a C++ compiler on a CPU, and there is no {name}: install it, name "
            f"another by the variable CXX, or leave the option out"
        )


def settle_precision(trainer: pl.Trainer, model: pl.LightningModule) -> None:
    """Give a model the precision of its weights before they are restored from a checkpoint.

    Lightning does it afterwards: weights of 64 bits are rounded to 32 on the way, and a resumed run ends elsewhere.

    Args:
        trainer: whose precision it is
        model: is changed in place
    """
    if isinstance(trainer.precision_plugin, DoublePrecision | HalfPrecision):
        trainer.precision_plugin.convert_module(model)
