"""Formats of torch: weights alone, and the program that torch.export writes."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from common import class_paths
from lightning_modules.checkpoints import read_checkpoint
from pipelines.export.graph import Probabilities

# what a checkpoint needs to be evaluated, to predict and to become a member of a stack
KEPT = (
    "pytorch-lightning_version",
    "epoch",
    "global_step",
    "state_dict",
    "architecture",
    "config",
    "parameters",
    "provenance",
    "leakage",
    "data_record",
    "conformal",
    "bases",
)


def write_weights(module: Probabilities, path: Path) -> None:
    """Write the weights alone; `architecture_beside` says what else the model is rebuilt with.

    Args:
        module: what to export
        path: of the .safetensors
    """
    save_file({name: value.contiguous().clone() for name, value in module.model.state_dict().items()}, path)


def write_checkpoint(source: Path, path: Path) -> None:
    """Write a checkpoint of this project without what only training needs.

    It is evaluated, predicts and becomes a member of a stack as the whole one does. It still says which samples the
    model was fitted on, so that a leak is found.

    Args:
        source: the whole checkpoint
        path: of the smaller one
    """
    whole = read_checkpoint(source)
    torch.save({name: value for name, value in whole.items() if name in KEPT}, path)


def architecture_beside(path: Path) -> dict[str, Any]:
    """Read the options beside weights; a class that they name is judged before it is imported.

    Args:
        path: of the .safetensors

    Raises:
        ValueError: they are damaged, or name what is not imported
    """
    options = path.with_suffix(".json")
    try:
        plain: dict[str, Any] = json.loads(options.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{options} is damaged ({error})") from error
    class_paths.judge_all(plain, str(options))
    return plain


def write_program(module: Probabilities, example: Tensor, path: Path) -> None:
    """Write the program that torch.export makes, for batches of any size.

    Args:
        module: what to export
        example: uint8 images, two at least
        path: of the .pt2

    Raises:
        ValueError: an operation cannot be exported
    """
    batch = torch.export.Dim("batch", min=1)
    try:
        program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:
        # whatever the model's code raises when it is traced
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{type(module.model).__name__} cannot be exported by torch.export ({reason})") from error
    written = io.BytesIO()
    # a path of another suffix makes it warn
    torch.export.save(program, written)
    path.write_bytes(written.getbuffer())
