"""What a checkpoint must hold: one table, checked wherever one is read."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.damaged import damaged

# a name that ends so need not be there; ANY stands for every name
OPTIONAL, ANY = "?", "*"
# problems that a message names
NAMED = 3

DATA_INFO = {
    "num_classes": int,
    "in_channels": int,
    "image_size": [int],
    "class_names": [str],
    "class_counts?": [int],
    "mean?": [float],
    "std?": [float],
}
MODEL_IN_STACK = {"kind": str, "options": {"data_info": DATA_INFO}}
PLAIN_CLASS = {"class_path": str, "init_args?": {}}
CHECKPOINT = {
    "architecture": {
        "class_path": str,
        "init_args": {
            "data_info": DATA_INFO,
            # of a whole stack
            "members?": [{"name": str, "models": [MODEL_IN_STACK]}],
            "meta_model?": {},
            "temperature?": float,
        },
    },
    "state_dict": {ANY: Tensor},
    "parameters?": int,
    "class_counts?": [int],
    # an empty one says that nobody knows what the weights were fitted on
    "provenance?": {"unknown?": [str], "published?": [str], ANY: Tensor},
    "data_record?": {"samples": int, "place": {}, "draw": {}, "digests": {ANY: str}},
    "leakage?": {},
    "train_sums?": {"sums": Tensor, "count": int},
    "bases?": [{"path": str, "relative": str, "sha256": str}],
    "config?": {"model?": PLAIN_CLASS, "data?": PLAIN_CLASS},
}
# what Lightning asks for, whatever it does with a checkpoint
OF_LIGHTNING = {"pytorch-lightning_version": str, "epoch": int, "global_step": int}
PROGRESS = {"total": {ANY: int}, "current": {ANY: int}}
# what a fit goes on from; where a part is missing, Lightning would begin it anew without a word
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
    "callbacks": {ANY: {}},
    "optimizer_states": [{"state": {}, "param_groups": [{}]}],
    "lr_schedulers": [{}],
}


def check_fields(checkpoint: Mapping[Any, Any], wanted: Mapping[str, Any], path: Path | str, way_out: str) -> None:
    """Refuse a checkpoint that lacks something, or holds something else in its place.

    Args:
        checkpoint: its content
        wanted: a table such as `CHECKPOINT`
        path: its file
        way_out: what to do then

    Raises:
        DamagedFileError: the message names the first few problems
    """
    found = list(problems(checkpoint, wanted, ""))
    if found:
        more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise damaged(path, ", ".join(found[:NAMED]) + more, way_out)


def check_kinds(state: Mapping[str, Tensor], model: nn.Module, path: Path | str) -> None:
    """Refuse weights that would be turned into numbers of another kind without a word.

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


def problems(value: Any, wanted: Any, place: str) -> Iterator[str]:
    """Yield what is wrong with a value.

    Args:
        value: from a file
        wanted: a type, a list with what each element must be, or what a dict must hold by name
        place: what to call it

    Example:
        >>> list(problems({"a": [1, "x"], "c": 1.5}, {"a": [int], "b": str, "c?": float}, ""))
        ['a[1] is of type str and must be of type int', 'b is missing']
    """
    if isinstance(wanted, dict):
        yield from problems_of_dict(value, wanted, place)
    elif isinstance(wanted, list):
        if isinstance(value, list | tuple):
            for number, element in enumerate(value):
                yield from problems(element, wanted[0], f"{place}[{number}]")
        else:
            yield wrong(place, value, "list")
    # bool is an int, and an int will do for a float
    elif isinstance(value, bool) or not isinstance(value, int | float if wanted is float else wanted):
        yield wrong(place, value, wanted.__name__)


def problems_of_dict(value: Any, wanted: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield what is missing in a dict, and what is wrong with what is there."""
    if not isinstance(value, dict):
        yield wrong(place or "it", value, "dict")
        return
    named = {name.removesuffix(OPTIONAL): inner for name, inner in wanted.items() if name != ANY}
    for name, inner in named.items():
        where = f"{place}.{name}" if place else name
        if name in value:
            yield from problems(value[name], inner, where)
        elif name + OPTIONAL not in wanted:
            yield f"{where} is missing"
    if ANY in wanted:
        for name in value.keys() - named.keys():
            yield from problems(value[name], wanted[ANY], f"{place}.{name}")


def wrong(place: str, value: Any, wanted: str) -> str:
    """Say what stands in the place of something else."""
    return f"{place} is of type {type(value).__name__} and must be of type {wanted}"
