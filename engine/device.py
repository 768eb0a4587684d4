"""The device of an accelerator that a Trainer names, also where this machine has none."""

import warnings

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from engine.quiet import quiet


def choose_device(accelerator: str) -> tuple[torch.device, str | None]:
    """Return the device on which models run, and what to say of it.

    Args:
        accelerator: as a Trainer names it; where this machine has none, such as a login node, the best that it has
    """
    with quiet(), warnings.catch_warnings():
        # this is no job of its own, also where SLURM is at hand
        warnings.filterwarnings("ignore", "The `srun` command is available")
        try:
            return _device(accelerator), None
        except MisconfigurationException:
            device = _device("auto")
    return device, (
        f"members were trained with trainer.accelerator {accelerator}, which this machine does not have: they run on "
        f"{device.type} here"
    )


def _device(accelerator: str) -> torch.device:
    return pl.Trainer(accelerator=accelerator, devices=1, logger=False, barebones=True).strategy.root_device
