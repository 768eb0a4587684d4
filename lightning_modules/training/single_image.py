"""BatchNorm and batches of a single image."""

import lightning.pytorch as pl
import torch
from torch import nn

from datamodules.base import DataModule
from lightning_modules.shapes import meta_copy


def check_batches(trainer: pl.Trainer, network: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Refuse to train a network on batches of one image, where its BatchNorm has nothing to average over.

    Args:
        trainer: about to fit
        network: in the mode in which it is trained
        image_shape: channel, height and width that it takes

    Raises:
        ValueError: a process gets a batch of one image, and a BatchNorm one value a channel
    """
    data = getattr(trainer, "datamodule", None)
    synced = trainer.world_size > 1 and getattr(trainer.strategy, "_layer_sync", None) is not None
    if not isinstance(data, DataModule) or synced:
        return
    sampler = data.loader(data.served("train"), shuffle=True).sampler
    if sampler.smallest > 1 or takes_one(network, image_shape):
        return
    count, least = sampler.size, 2 * trainer.world_size
    each = "" if trainer.world_size == 1 else f" on each of {trainer.world_size} processes"
    way = f"use --data.batch_size {least} or more" if count >= least else f"it has {count} training image(s) in all"
    raise ValueError(
        f"--data.batch_size {data.batch_size} makes a batch of one image{each}, and BatchNorm cannot be trained on "
        f"one: {way}, or a model without BatchNorm"
    )


def takes_one(network: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Tell whether a network can be trained on one image, without computing anything."""
    copy = meta_copy(network)
    for ours, theirs in zip(copy.modules(), network.modules(), strict=True):
        ours.training = theirs.training
    try:
        with torch.no_grad():
            copy(torch.empty((1, *image_shape), device="meta"))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return False
    return True
