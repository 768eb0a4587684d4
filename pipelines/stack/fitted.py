"""A head of a stack, fitted on all meta samples and cross-fitted."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ensembling.heads.fitting import Head, cross_fit, fit_head, fit_notes
from pipelines.stack.members import MemberLogits
from pipelines.stack.plan import StackPlan


@dataclass(frozen=True)
class FittedHead:
    """A head fitted on all meta samples.

    Args:
        head: its options
        module: from logits `(batch, member, class)` to logits `(batch, class)`
        held_out: for each meta sample, the logits of such a head that was fitted without it, shape `(sample, class)`
        test: for each test sample, by the runs of each fold, shape `(sample, fold, class)`
        notes: what is to be told of the fits
    """

    head: Head
    module: nn.Module
    held_out: Tensor
    test: Tensor
    notes: list[str] = field(default_factory=list)


def fit_one(plan: StackPlan, head: Head, meta: MemberLogits, test: MemberLogits) -> FittedHead:
    """Cross-fit a head, and fit it on all meta samples; see `fit_heads`."""
    classes, notes = meta.logits.shape[2], list[str]()
    held_out = cross_fit(head, meta.logits, meta.labels, classes, seed=plan.seed, groups=meta.units, notes=notes)
    module = fit_head(head, meta.logits, meta.labels, classes, plan.seed, meta.units)
    notes += fit_notes(module)
    with torch.no_grad():
        # fitted on the logits of single runs, so asked for those of each fold's runs
        tested = torch.stack([module(rows).float() for rows in test.folds.unbind(1)], dim=1)
    if not (held_out.isfinite().all() and tested.isfinite().all()):
        raise ValueError("it gives logits that are not finite")
    # once each: folds often say the same
    return FittedHead(head, module, held_out, tested, list(dict.fromkeys(notes)))
