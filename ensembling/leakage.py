"""Overlaps between what a meta-model trains on and what its bases have seen."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from datamodules.provenance import Provenance


class LeakageError(ValueError):
    """The meta-model would train on samples that a base was fitted on."""


@dataclass(frozen=True)
class Leakage:
    """Overlaps of the meta-training samples with what the bases have seen.

    Groups are counted apart: a sample counts there if a base has seen another one of its group (the same patient or
    scene), but not the sample itself or a copy.

    Args:
        fitted: by base, the number of meta-training samples it was fitted on
        selected: by base, the number of meta-training samples that chose its checkpoint
        validated: by base, the number of samples it was fitted on among those that the meta-model is validated on
        unknown: bases whose checkpoints do not say what they were fitted on
        calibrated: by base, the number of meta-training samples it was calibrated on
        fitted_groups: as `fitted`, by group alone
        selected_groups: as `selected`, by group alone
        validated_groups: as `validated`, by group alone
        calibrated_groups: as `calibrated`, by group alone
    """

    fitted: dict[str, int] = field(default_factory=dict)
    selected: dict[str, int] = field(default_factory=dict)
    validated: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    calibrated: dict[str, int] = field(default_factory=dict)
    fitted_groups: dict[str, int] = field(default_factory=dict)
    selected_groups: dict[str, int] = field(default_factory=dict)
    validated_groups: dict[str, int] = field(default_factory=dict)
    calibrated_groups: dict[str, int] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """Return one sentence for each base that the meta-model must not be trained over."""
        return [
            *(f"{name} was fitted on {count} of the meta-training samples" for name, count in self.fitted.items()),
            *(
                f"{name} was fitted on other samples of the groups of {count} meta-training samples"
                for name, count in self.fitted_groups.items()
            ),
            *(f"{name} does not say what it was fitted on" for name in self.unknown),
        ]

    def warnings(self) -> list[str]:
        """Return one sentence for each overlap that makes a number look better than it is."""
        of = "other samples of the groups of"
        sentences = (
            (self.selected, "was selected on {} meta-training samples"),
            (self.selected_groups, f"was selected on {of} {{}} meta-training samples"),
            (self.calibrated, "was calibrated on {} meta-training samples"),
            (self.calibrated_groups, f"was calibrated on {of} {{}} meta-training samples"),
            (self.validated, "was fitted on {} of the samples that the stack is validated on"),
            (self.validated_groups, f"was fitted on {of} {{}} of the samples that the stack is validated on"),
        )
        return [f"{name} {text.format(count)}" for counts, text in sentences for name, count in counts.items()]

    def plain(self) -> dict[str, list[str]]:
        """Return the sentences as they stand in result.json."""
        return {"allowed": self.problems(), "warnings": self.warnings()}


def find_leakage(
    keys: Tensor,
    val_keys: Tensor,
    bases: Mapping[str, Provenance | None],
    groups: Tensor | None = None,
    val_groups: Tensor | None = None,
) -> Leakage:
    """Compare content keys, so that a copy under another name counts too, and groups.

    Args:
        keys: content keys of the meta-training samples, shape `(sample,)`
        val_keys: content keys of the samples that the meta-model is validated on, shape `(sample,)`
        bases: the record of each base by its name; None where its checkpoint has none
        groups: group of each meta-training sample, shape `(sample,)`; None where the data has none
        val_groups: likewise of the samples that the meta-model is validated on

    Returns:
        the overlaps; empty if there are none
    """
    counts: dict[str, dict[str, int]] = {}
    for name, record in bases.items():
        if record is None:
            continue
        for role, seen, seen_groups, ours, our_groups in (
            ("fitted", record.fitted, record.fitted_groups, keys, groups),
            ("selected", record.selected, record.selected_groups, keys, groups),
            ("calibrated", record.calibrated, record.calibrated_groups, keys, groups),
            ("validated", record.fitted, record.fitted_groups, val_keys, val_groups),
        ):
            shared = torch.isin(ours, seen)
            related = (
                torch.isin(our_groups, seen_groups) & ~shared if our_groups is not None else torch.zeros_like(shared)
            )
            for kind, mask in ((role, shared), (f"{role}_groups", related)):
                if mask.any():
                    counts.setdefault(kind, {})[name] = int(mask.sum())
    return Leakage(unknown=[name for name, record in bases.items() if record is None], **counts)


def join_leakage(parts: Iterable[Leakage]) -> Leakage:
    """Add up the overlaps of parts of the meta-training samples, such as folds, each compared with bases of its own.

    Args:
        parts: the overlaps of each
    """
    counts: dict[str, Counter[str]] = {}
    unknown: dict[str, None] = {}
    for part in parts:
        unknown |= dict.fromkeys(part.unknown)
        for f in fields(part):
            if f.name != "unknown":
                counts.setdefault(f.name, Counter()).update(getattr(part, f.name))
    return Leakage(unknown=list(unknown), **{name: dict(count) for name, count in counts.items()})


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
            "; ".join(problems) + ": train the bases without these samples, on data that is split as the stack's is "
            "(fractions, split_seed and groups), or set the option allow_leakage true and have every table say so"
        )
