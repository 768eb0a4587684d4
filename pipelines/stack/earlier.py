"""What an earlier stack left in a stack's folder: what stays of it, and what is put aside."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.data_record import DataRecord
from lightning_modules.checkpoints import read_checkpoint
from measures.by_source import by_source_names
from records.damaged_files import dict_at
from records.result_files import keep_earlier, or_put_aside, read_result
from records.run_dir import RunDir
from records.tensor_files import read_tensors

# entries of result.json, and of a checkpoint, that differ when the same stack is made again
OF_A_PROCESS = frozenset({"versions", "git_commit", "fit", "look", "device", "pytorch-lightning_version"})
# the samples that a split of an evaluation would have to be, as `fingerprints` of a stack names them
SAMPLES_OF = {"test": "test", "val": "meta"}


@dataclass(frozen=True)
class Kept:
    """What stays of an earlier stack where the same one is made again.

    Args:
        entries: of result.json, such as those that `test` has written since
        splits: whose predictions stay, because `test` or `validate` has written them since
        checkpoint: whether the checkpoint that is there has the same content
    """

    entries: dict[str, Any] = field(default_factory=dict)
    splits: frozenset[str] = frozenset()
    checkpoint: bool = False


def meet_earlier(
    run: RunDir,
    result: Mapping[str, Any],
    checkpoint: Mapping[str, Any],
    logits: Mapping[str, Tensor],
    record: DataRecord,
) -> Kept:
    """Rename what an earlier stack left in the folder, unless the same stack is made again.

    So the folder never mixes files of two stacks, even if the writing is interrupted. What has the same content is not
    copied, and such a checkpoint is not written again.

    Args:
        run: the stack's folder
        result: what is to be written
        checkpoint: likewise
        logits: likewise, by column
        record: likewise, of the data

    Returns:
        what stays
    """
    was_there = run.result.is_file()
    earlier = or_put_aside(read_result, run.result)
    same_checkpoint = holds(run.stack, checkpoint)
    now = json.loads(json.dumps(result))
    # what a damaged result said is unknown, so it counts as another one
    if (earlier or not was_there) and (same_checkpoint or not run.stack.is_file()):
        splits = evaluated_since(earlier, now)
        if splits is not None and repeats(earlier, now, splits):
            return Kept(entries_of(earlier, now, splits), splits, same_checkpoint)
    # the result last: by it the next command knows that there is something to put aside
    stays = {run.stack} if same_checkpoint else set[Path]()
    stays |= {run.logits} if holds_tensors(run.logits, logits) else set()
    stays |= {run.data} if record.is_in(run.data) else set()
    for path in (run.predictions, *run.tables, run.logits, run.data, run.stack, run.result):
        if path not in stays:
            keep_earlier(path)
            path.unlink(missing_ok=True)
    return Kept(checkpoint=same_checkpoint)


def evaluated_since(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> frozenset[str] | None:
    """Name the splits that `test` or `validate` has evaluated since; None if one is of other samples than the stack's.

    Args:
        earlier: the result that is there
        now: what is to be written
    """
    splits = dict_at(dict(earlier), "evaluations")
    same = all(
        split in SAMPLES_OF and dict_at(splits, split).get("fingerprint") == now["fingerprints"].get(SAMPLES_OF[split])
        for split in splits
    )
    return frozenset(splits) if same else None


def repeats(earlier: Mapping[str, Any], now: Mapping[str, Any], splits: frozenset[str]) -> bool:
    """Tell whether two results say the same of a stack, apart from what was evaluated since.

    Args:
        earlier: the result that is there
        now: what is to be written
        splits: that were evaluated since
    """
    apart = OF_A_PROCESS | {name for split in splits for name in names_of(split)}
    return all(earlier[name] == now[name] for name in (earlier.keys() & now.keys()) - apart)


def entries_of(earlier: Mapping[str, Any], now: Mapping[str, Any], splits: frozenset[str]) -> dict[str, Any]:
    """Return the entries of an earlier result that stay: those of evaluations since, and what the new one has not."""
    apart = {"evaluations", *(name for split in splits for name in names_of(split))}
    return {name: value for name, value in earlier.items() if name in apart or name not in now}


def names_of(split: str) -> tuple[str, ...]:
    """Name the entries of result.json that an evaluation of a split writes."""
    return split, f"{split}_sets", f"{split}_threshold", *by_source_names(split)


def holds(path: Path, checkpoint: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint's content is that of another one; a damaged one's is not."""
    if not path.is_file():
        return False
    try:
        found = read_checkpoint(path, mapped=True)
    except ValueError:
        return False
    both = [{name: value for name, value in one.items() if name not in OF_A_PROCESS} for one in (found, checkpoint)]
    return is_same(*both)


def holds_tensors(path: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether a file holds just these tensors; a damaged one does not."""
    try:
        return path.is_file() and is_same(read_tensors(path, "")[0], dict(tensors))
    except ValueError:
        return False


def is_same(one: Any, other: Any) -> bool:
    """Compare the contents of two files, tensors by their values.

    Args:
        one: plain types and tensors
        other: likewise

    Example:
        >>> is_same({"a": [1, torch.ones(2)]}, {"a": [1, torch.ones(2)]}), is_same([1], [True, 2])
        (True, False)
    """
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
            return False
        return one.dtype == other.dtype and torch.equal(one.cpu(), other.detach().cpu())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(is_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
