"""Outputs of frozen layers: computed once for each image, in place of once in each epoch."""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from common import class_paths
from datamodules.image_data import ImageDataModule
from datamodules.loaders import Batch
from datamodules.samples import Samples, TensorSource
from ensembling.cache import LogitCache, LogitCounts
from ensembling.fixed_views import FixedView
from ensembling.frozen_outputs import FrozenNetwork, frozen_outputs, precision_context

# an ImageClassifier, whose module imports this one
Model = Any
# the batch's key for what the frozen layers gave
FROZEN = "frozen"
# more outputs than this are not held in memory, in bytes
LARGEST = 2 * 2**30
# layers without weights that give the same in training as in evaluation
FIXED = (
    nn.Identity,
    nn.Flatten,
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveAvgPool2d,
)


@dataclass(frozen=True, eq=False)
class Divided:
    """A backbone in two parts.

    Args:
        fixed: its first layers, which give the same for an image in every epoch
        rest: the layers after them
        shape: of what the first part gives for one image
        dtype: of that
        views: how many views of each training image there are
    """

    fixed: nn.Module
    rest: nn.Module
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    views: int = 1

    def embedding(self, batch: Batch, epoch: int) -> Tensor:
        """Compute the embeddings of a batch `(batch, dim)`; each epoch takes the next view of each image.

        Args:
            batch: with what the first part gave, shape `(batch, view, value)`
            epoch: the current one
        """
        outputs = batch[FROZEN]
        views = (batch["id"] + epoch).remainder(outputs.shape[1])
        chosen = outputs[torch.arange(len(outputs), device=outputs.device), views]
        return self.rest(chosen.to(self.dtype).view(-1, *self.shape))


class Flattened(nn.Module):
    """Fixed layers from uint8 images to `(batch, value)`.

    Args:
        prepare: from uint8 images to what the layers take
        fixed: the layers
    """

    def __init__(self, prepare: Callable[[Tensor], Tensor], fixed: nn.Module) -> None:
        super().__init__()
        self.prepare, self.fixed = prepare, fixed

    def forward(self, images: Tensor) -> Tensor:
        """Compute the layers' outputs `(batch, value)`."""
        return self.fixed(self.prepare(images)).flatten(1)


def divide(backbone: nn.Module) -> Divided | None:
    """Divide a backbone after its first layers that are fixed; None if there are none.

    A network that is frozen only in part can be divided if it is a sequence of layers.

    Args:
        backbone: in the mode in which it is trained
    """
    if not any(p.requires_grad for p in backbone.parameters()):
        return Divided(backbone, nn.Identity()) if any(True for _ in backbone.parameters()) else None
    if type(backbone) is not nn.Sequential:
        return None
    layers = list(backbone)
    count = next(n for n, layer in enumerate(layers) if not is_fixed(layer))
    if not any(True for layer in layers[:count] for _ in layer.parameters()):
        return None
    return Divided(backbone[:count], backbone[count:])


def is_fixed(layer: nn.Module) -> bool:
    """Tell whether a layer gives the same for an image in every epoch; frozen ones are in evaluation mode."""
    if any(True for _ in layer.parameters()):
        return not layer.training and not any(p.requires_grad for p in layer.parameters())
    return isinstance(layer, FIXED)


def keep_outputs(model: Model, data: ImageDataModule) -> Divided | None:
    """Let the loaders serve what a model's fixed layers give, if that spares computing it in each epoch.

    Args:
        model: about to be trained, on its device
        data: that it is trained on

    Returns:
        the layers after those; None if images are served as ever

    Raises:
        ValueError: fixed views are asked for, and cannot be
    """
    trainer = model.trainer
    divided = None if model.frozen == "none" or model.frozen_cache is None else divide(model.backbone)
    if model.views:
        check_views(model, data, divided)
    if divided is None or (not model.views and epochs_left(trainer, data) < 2):
        return None
    if any(isinstance(callback, BaseFinetuning) for callback in trainer.callbacks):
        return None
    if (reason := varies(data)) and not model.views:
        rank_zero_info(f"frozen layers run in each epoch, because {reason}")
        return None
    train, val = data.samples("train"), data.samples("val")
    evaluates = bool(len(val)) and is_whole(trainer.limit_val_batches) and model.tta == "none"
    divided = replace(divided, views=max(1, model.views))
    divided = probed(divided, model, train)
    size = 4 * math.prod(divided.shape) * (len(train) * divided.views + len(val) * evaluates)
    if divided.dtype is torch.float64 or size > LARGEST:
        why = f"their outputs would take {size / 2**30:.1f} GiB" if size > LARGEST else "they compute in 64 bits"
        rank_zero_info(f"frozen layers run in each epoch, because {why}")
        return None
    serve(divided, model, data, train, val if evaluates else None)
    return divided


def serve(divided: Divided, model: Model, data: ImageDataModule, train: Samples, val: Samples | None) -> None:
    """Compute what the fixed layers give, or read it from the cache, and let the loaders serve it."""
    counts = LogitCounts()
    assert model.frozen_cache is not None
    cache, network = LogitCache(model.frozen_cache), fixed_network(divided, model)

    def outputs(samples: Samples, named: FrozenNetwork) -> Tensor:
        device, precision = model.trainer.strategy.root_device, str(model.trainer.precision)
        return frozen_outputs([named], samples, data, device, precision, cache=cache, counts=counts)

    if model.views:
        viewed = [replace(train, source=FixedView(train.source, data.augmentation, n)) for n in range(model.views)]
        views = [outputs(samples, view_of(network, n, data)) for n, samples in enumerate(viewed)]
        data.serve("train", train.with_source(TensorSource(torch.cat(views, dim=1), FROZEN)))
    else:
        data.serve("train", train.with_source(TensorSource(outputs(train, network), FROZEN)))
    if val is not None:
        data.serve("val", val.with_source(TensorSource(outputs(val, network), FROZEN)))
    of = f", {divided.views} fixed views of each training image" if model.views else ""
    rank_zero_info(
        f"frozen layers run once for each image{of}, and not in each epoch: {counts.reused:,} outputs read from the "
        f"cache, {counts.computed:,} computed (--model.frozen_cache null for each epoch)"
    )


def fixed_network(divided: Divided, model: Model) -> FrozenNetwork:
    """Name the fixed layers by all that their outputs depend on besides the image."""
    parts = {"preprocessing": model.preprocessing, "fixed": divided.fixed}
    digest = hashlib.sha256()
    for part, module in parts.items():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            content = value.detach().cpu().contiguous()
            digest.update(f"{part} {name} {content.dtype} {tuple(content.shape)}".encode())
            digest.update(content.view(-1).view(torch.uint8).numpy().data)
    # how torch shows a network names its layers with their options; functions among them by their address
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(divided.fixed))
    named = {
        "frozen": digest.hexdigest(),
        "network": f"{class_paths.public_name(type(model))} {shown}",
        "input_size": "x".join(map(str, model.size)),
        "computed": f"torch {torch.__version__}, {model.device.type}, {model.memory_format}",
    }
    return FrozenNetwork("the frozen part", named, lambda: Flattened(model.prepare, divided.fixed))


def view_of(network: FrozenNetwork, number: int, data: ImageDataModule) -> FrozenNetwork:
    """Name what the layers give for one fixed view, which depends on the batches that it is drawn in."""
    drawn = f"{number} of {data.augmentation} in batches of {data.batch_size} of {data.fingerprint('train')}"
    processes = data.trainer.world_size if data.trainer else 1
    return replace(network, weights={**network.weights, "view": f"{drawn} on {processes}"})


@torch.no_grad()
def probed(divided: Divided, model: Model, samples: Samples) -> Divided:
    """Find the form of the fixed layers' output by running them once."""
    device = model.trainer.strategy.root_device
    images = samples.source.gather(samples.rows[:1]).to(device)
    with precision_context(str(model.trainer.precision), device):
        output = divided.fixed(model.prepare(images))
    return replace(divided, shape=tuple(output.shape[1:]), dtype=output.dtype)


# when


def varies(data: ImageDataModule) -> str | None:
    """Say why a training image is another one in each epoch; None if it is not."""
    if data.mixup or data.cutmix:
        return "--data.mixup and --data.cutmix mix images anew in each"
    if data.augmentation or data.strong_augmentation:
        return "images are augmented anew in each (--model.views 4 takes 4 fixed views of each image in their place)"
    return None


def check_views(model: Model, data: ImageDataModule, divided: Divided | None) -> None:
    """Refuse fixed views where there can be none."""
    asked = f"--model.views {model.views}"
    if model.frozen_cache is None:
        raise ValueError(f"{asked} needs --model.frozen_cache")
    if divided is None:
        raise ValueError(f"{asked} needs a backbone that begins with frozen layers: --model.freeze backbone")
    if data.mixup or data.cutmix or data.strong_augmentation:
        raise ValueError(f"{asked} takes --data.augmentation alone, and no mixup, cutmix or strong_augmentation")
    if not data.augmentation:
        raise ValueError(f"{asked} needs --data.augmentation: without it all views of an image are the same")


def changed_methods(kind: type, base: type) -> list[str]:
    """Name the methods between images and loss that a model's class has of its own, which may need the images.

    Args:
        kind: the model's class
        base: ImageClassifier
    """
    between = ("training_step", "validation_step", "batch_logits", "forward", "_logits", "features", "prepare")
    return [name for name in between if getattr(kind, name) is not getattr(base, name)]


def epochs_left(trainer: pl.Trainer, data: ImageDataModule) -> float:
    """Return how many times a fit goes on to see all training images; 0 if it sees a part of them alone."""
    limit, overfits = trainer.limit_train_batches, trainer.overfit_batches  # type: ignore[attr-defined]
    if trainer.fast_dev_run or overfits or not is_whole(limit):  # type: ignore[attr-defined]
        return 0
    epochs = math.inf if trainer.max_epochs in (None, -1) else float(trainer.max_epochs or 0)
    if trainer.max_steps >= 0:
        batches = len(data.loader(data.samples("train"), shuffle=True))
        epochs = min(epochs, trainer.max_steps * trainer.accumulate_grad_batches / batches)
    return epochs - trainer.current_epoch


def is_whole(limit: float | int) -> bool:
    """Tell whether a limit of batches leaves all of them; 1 is one batch, and 1.0 all."""
    return isinstance(limit, float) and limit == 1
