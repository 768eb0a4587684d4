"""Parts of a network that are not trained, for a whole run or for its first epochs."""

import difflib
from collections.abc import Collection, Mapping

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn

from common.warned import warn
from lightning_modules.weights import some


def freeze_backbone(backbone: nn.Module, choice: str, stages: Mapping[str, list[nn.Parameter]]) -> None:
    """Freeze what an option names.

    Args:
        backbone: from images to embeddings
        choice: none, backbone, or until:<stage>, which freezes the stages before that one
        stages: the backbone's parameters by stage, from input to embedding

    Raises:
        ValueError: there is no such choice or stage; the message names the stages there are
    """
    if choice == "none":
        return
    if choice == "backbone":
        backbone.requires_grad_(False)
        return
    names = list(stages)
    word, _, stage = choice.partition(":")
    if word != "until":
        raise ValueError(f"--model.freeze takes none, backbone or until:<stage>, not {choice!r} ({known(names)})")
    first = next((name for name in names if name == stage or name.startswith(f"{stage}.")), None)
    if first is None:
        close = difflib.get_close_matches(stage, names, n=1)
        hint = f"; did you mean until:{close[0]}?" if close else ""
        raise ValueError(f"--model.freeze {choice}: there is no stage {stage!r}{hint} ({known(names)})")
    for name in names[: names.index(first)]:
        for parameter in stages[name]:
            parameter.requires_grad_(False)


def warn_of_random(backbone: nn.Module, loaded: Collection[str]) -> None:
    """Warn of layers that are not trained and whose weights were drawn at random.

    Args:
        backbone: from images to embeddings
        loaded: names of its tensors that come from a file
    """
    names = [name for name, p in backbone.named_parameters() if not p.requires_grad and name not in loaded]
    if names:
        layers = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
        warn(
            f"{len(layers)} frozen layers have random weights, which are not trained ({some(layers)}): give "
            f"--model.weights FILE or --model.pretrained true, or freeze less by --model.freeze"
        )


def known(names: list[str]) -> str:
    """Name the stages there are."""
    return f"stages: {', '.join(names)}" if names else "this model has no stages"


def evaluate_frozen(network: nn.Module) -> None:
    """Put every module whose parameters are all frozen into evaluation mode.

    Without gradients BatchNorm would still follow the batches, and dropout and drop-path would still act.

    Args:
        network: in training mode; modules without parameters, own or below, are left as they are
    """
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


# gradual unfreezing


def unfreezing(trainer: pl.Trainer) -> BackboneFinetuning | None:
    """Return the callback that unfreezes the backbone during a fit, if there is one."""
    found = [callback for callback in trainer.callbacks if isinstance(callback, BackboneFinetuning)]  # type: ignore[attr-defined]
    return found[0] if found else None


def check_unfreezing(trainer: pl.Trainer, network: nn.Module, choice: str) -> None:
    """Refuse gradual unfreezing where it would silently go wrong.

    Args:
        trainer: about to fit
        network: the model
        choice: its option `freeze`

    Raises:
        ValueError: the model has no backbone of its own or is frozen by its option, or there are several processes
    """
    if unfreezing(trainer) is None:
        return
    if not isinstance(getattr(network, "backbone", None), nn.Module):
        raise ValueError("BackboneFinetuning in --trainer.callbacks: a stack trains its head alone, so leave it out")
    if choice != "none":
        raise ValueError(
            f"--model.freeze {choice} and BackboneFinetuning in --trainer.callbacks both freeze the backbone: use one"
        )
    for option in ("backbone_lr_factor", "layer_decay"):
        if getattr(network, option) != 1:
            raise ValueError(
                f"--model.{option} and BackboneFinetuning in --trainer.callbacks both set the backbone's rate: use one"
            )
    if trainer.world_size > 1:
        # DistributedDataParallel builds its reducer over the parameters that require gradients when it is set up
        raise ValueError(
            "BackboneFinetuning in --trainer.callbacks needs --trainer.devices 1: with several processes torch never "
            "averages gradients of parameters that were frozen at the start, so the processes' weights would diverge"
        )


def follow_unfreezing(callback: BackboneFinetuning, backbone: nn.Module, epoch: int) -> None:
    """Bring a backbone into the state that it has under gradual unfreezing in some epoch.

    Lightning's callback trains BatchNorm from the start even with `train_bn: false`, lets it follow the batches for
    ever, and leaves the backbone frozen in a run that is resumed after it was unfrozen.

    Args:
        callback: says when, and whether BatchNorm is trained
        backbone: from images to embeddings
        epoch: the current one
    """
    callback.freeze(backbone, train_bn=False)
    if epoch >= callback.unfreeze_backbone_at_epoch:
        callback.make_trainable(backbone)
        if not callback.train_bn:
            for module in backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.requires_grad_(False)
