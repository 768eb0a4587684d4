"""Overlaps between what a meta-model trains on and what its bases have seen."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from datamodules.provenance import Provenance


class LeakageError(ValueError):
    """The meta-model would train on samples that a base was fitted on."""


@dataclass(frozen=True)
class Leakage:
    """Overlaps of the meta-training samples with what the bases have seen.

    Args:
        fitted: by base, the number of meta-training samples it was fitted on
        selected: by base, the number of meta-training samples that chose its checkpoint
        validated: by base, the number of samples it was fitted on among those that the meta-model is validated on
        unknown: bases whose checkpoints do not say what they were fitted on
    """

    fitted: dict[str, int] = field(default_factory=dict)
    selected: dict[str, int] = field(default_factory=dict)
    validated: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return one sentence for each base that the meta-model must not be trained over."""
        return [f"{name} was fitted on {count} of the meta-training samples" for name, count in self.fitted.items()] + [
            f"{name} does not say what it was fitted on" for name in self.unknown
        ]

    def warnings(self) -> list[str]:
        """Return one sentence for each overlap that makes a number look better than it is."""
        return [f"{name} was selected on {count} meta-training samples" for name, count in self.selected.items()] + [
            f"{name} was fitted on {count} of the samples that the stack is validated on"
            for name, count in self.validated.items()
        ]


def find_leakage(keys: Tensor, val_keys: Tensor, bases: dict[str, Provenance | None]) -> Leakage:
    """Compare content keys, so that a copy under another name counts too.

    Args:
        keys: content keys of the meta-training samples, shape `(sample,)`
        val_keys: content keys of the samples that the meta-model is validated on, shape `(sample,)`
        bases: the record of each base by its name; None where its checkpoint has none

    Returns:
        the overlaps; empty if there are none
    """
    known = {name: record for name, record in bases.items() if record is not None}
    fitted = {name: int(torch.isin(keys, record.fitted).sum()) for name, record in known.items()}
    selected = {name: int(torch.isin(keys, record.selected).sum()) for name, record in known.items()}
    validated = {name: int(torch.isin(val_keys, record.fitted).sum()) for name, record in known.items()}
    return Leakage(
        {name: count for name, count in fitted.items() if count},
        {name: count for name, count in selected.items() if count},
        {name: count for name, count in validated.items() if count},
        [name for name, record in bases.items() if record is None],
    )


def refuse_leakage(leakage: Leakage, allow: bool) -> None:
    """Stop a meta-model from training on what its bases know by heart.

    Args:
        leakage: the overlaps found
        allow: go on all the same; the results must then say so

    Raises:
        LeakageError: there is an overlap with fitted samples, or a base without a record
    """
    problems = leakage.problems()
    if problems and not allow:
        raise LeakageError(
            "; ".join(problems) + ": train the bases with --data.stack_fraction and the same --data.split_seed as the "
            "stack, or set --model.allow_leakage true and have every table say so"
        )
