"""What a checkpoint must hold: one table, checked wherever one is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from records.fields import ANY, check_fields

DATA_INFO = {
    "num_classes": int,
    "in_channels": int,
    "image_size": [int],
    "class_names": [str],
    "class_counts?": [int],
    "mean?": [float],
    "std?": [float],
}
# of data with columns of features
TABLE = {
    "columns": [{"name": str, "categories": [str], "mean": float, "std": float}],
    "missing": str,
    "known_by": str,
}
PLAIN_CLASS = {"class_path": str, "init_args?": {}}
CHECKPOINT = {
    "architecture": {
        "class_path": str,
        "init_args": {
            "data_info": DATA_INFO,
        },
    },
    "state_dict": {ANY: Tensor},
    "parameters?": int,
    "reads?": str,
    "class_counts?": [int],
    # an empty one means that the samples that the weights were fitted on are unknown
    "provenance?": {"unknown?": [str], "published?": [str], ANY: Tensor},
    "data_record?": {"samples": int, "place": {}, "draw": {}, "digests": {ANY: str}},
    "leakage?": {},
    "conformal?": {
        "of": str,
        "probability": Tensor,
        "above": Tensor,
        "rank": Tensor,
        "label": Tensor,
        "source?": Tensor,
        "source_names": [str],
    },
    "train_sums?": {"sums": Tensor, "count": int},
    "bases?": [{"path": str, "relative": str, "sha256": str}],
    "config?": {"model?": PLAIN_CLASS, "data?": PLAIN_CLASS, "sets?": {}},
}
# what a whole stack has as well; a missing option would silently get its default
STACK = {
    "architecture": {
        "init_args": {
            "members": [{"name": str, "models": [{"kind": str, "options": {"data_info": DATA_INFO}}]}],
            "meta_model": {"kind": str, "options": {}},
            "normalized": bool,
            # earlier versions applied the head to the folds' mean
            "by_fold?": bool,
            "temperature": float,
            "tta": str,
        },
    },
}
# what Lightning asks for, whatever it does with a checkpoint
OF_LIGHTNING = {"pytorch-lightning_version": str, "epoch": int, "global_step": int}
COUNTS = {"ready": int, "started": int, "processed": int, "completed": int}
PROGRESS = {"total": COUNTS, "current": COUNTS}
# what a resumed fit needs; Lightning would silently begin a missing part anew
RESUMED = {
    "loops": {
        "fit_loop": {
            "state_dict": {},
            "epoch_progress": PROGRESS,
            "epoch_loop.state_dict": {},
            "epoch_loop.batch_progress": PROGRESS,
            "epoch_loop.automatic_optimization.optim_progress": {},
        }
    },
    "callbacks": {"RandomState?": {"cpu": Tensor}, ANY: {}},
    "optimizer_states": [{"state": {}, "param_groups": [{}]}],
    "lr_schedulers": [{}],
}
# the state of a BatchLoader: which batches of an epoch are left
LOADER = {"epoch": int, "batches": int, "batch_size": int, "seed": int, "samples": str, "of": int}


def check_checkpoint(checkpoint: Mapping[str, Any], path: Path | str, way_out: str) -> None:
    """Refuse a checkpoint without what is needed to build its model.

    Args:
        checkpoint: its content
        path: its file
        way_out: what to do then

    Raises:
        DamagedFileError: a field is missing, or is something else
    """
    check_fields(checkpoint, CHECKPOINT, path, way_out)
    info = checkpoint["architecture"]["init_args"]["data_info"]
    if info.get("table") is not None:
        check_fields(info["table"], TABLE, path, way_out)
    if "members" in checkpoint["architecture"]["init_args"]:
        check_fields(checkpoint, STACK, path, way_out)


def check_kinds(state: Mapping[str, Tensor], model: nn.Module, path: Path | str) -> None:
    """Refuse weights that would silently be converted to another kind of numbers.

    Args:
        state: of a checkpoint
        model: that they are for; which of them it needs is not looked at
        path: the checkpoint's file

    Raises:
        ValueError: some are no plain tensors, or integers where the model has fractions; the message names the first
    """
    ours = model.state_dict()
    odd = [f"{name} {why}" for name in state.keys() & ours.keys() if (why := other_kind(state[name], ours[name]))]
    if odd:
        raise ValueError(f"{path}: {len(odd)} of its {len(state)} tensors cannot be weights here, such as {min(odd)}")


def other_kind(given: Tensor, wanted: Tensor) -> str:
    """Say why a tensor cannot take another one's place; nothing if it can, but for its shape.

    Example:
        >>> other_kind(torch.tensor([1]), torch.tensor([1.0]))
        'is of int64, and must be of float32'
        >>> other_kind(torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0]))
        ''
    """
    if given.layout != torch.strided or given.is_quantized:
        return "is sparse or quantized"
    if given.is_complex() or given.is_floating_point() != wanted.is_floating_point():
        return f"is of {given.dtype}, and must be of {wanted.dtype}".replace("torch.", "")
    return ""
