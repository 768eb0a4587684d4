"""Meta-models: fitted, cross-fitted, and written as plain types."""

from dataclasses import asdict, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common import class_paths
from ensembling.folds import meta_folds
from ensembling.heads.base import Head, check_meta_samples
from ensembling.heads.logistic import LogisticHead
from ensembling.heads.mlp import MLPHead
from ensembling.heads.pooling import GreedyHead, MeanHead, TunedMeanHead, VoteHead
from ensembling.solver.fit import fit_logistic

__all__ = [
    "GreedyHead",
    "Head",
    "LogisticHead",
    "MLPHead",
    "MeanHead",
    "TunedMeanHead",
    "VoteHead",
    "cross_fit",
    "fit_head",
    "fit_logistic",
    "fit_notes",
    "head_from_plain",
    "head_plain",
]


def fit_head(
    head: Head, logits: Tensor, labels: Tensor, num_classes: int, seed: int = 0, groups: Tensor | None = None
) -> nn.Module:
    """Build a head's module and fit it.

    The same arguments give the same module; the global random state is left as it was.

    Args:
        head: options
        logits: of the members, shape `(sample, member, class)`; minus infinity for a class that a member does not know
        labels: int64, shape `(sample,)`
        num_classes: number of classes; not all need have a sample
        seed: of initial weights, order, dropout and folds
        groups: int64, shape `(sample,)`; what is held out inside a fit never divides a group

    Returns:
        module from logits `(batch, member, class)` to pooled logits `(batch, class)`, on the CPU, in evaluation mode

    Raises:
        ValueError: samples that the head cannot be fitted on
    """
    logits, labels = logits.detach().cpu(), labels.cpu()
    check_meta_samples(logits, labels, num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = head.build(logits.shape[1], num_classes)
    head.fit(module, logits, labels, seed, None if groups is None else groups.cpu())
    return module.eval()


def fit_notes(module: nn.Module) -> list[str]:
    """Return what is to be told of a module's fit, such as penalties that were left out."""
    return list(getattr(module, "notes", []))


def cross_fit(
    head: Head,
    logits: Tensor,
    labels: Tensor,
    num_classes: int,
    folds: int = 5,
    seed: int = 0,
    groups: Tensor | None = None,
    notes: list[str] | None = None,
) -> Tensor:
    """Pool each meta sample by a head that was fitted without it: stratified K-fold cross-validation.

    Temperature, thresholds and the choice between heads come from these, never from the test split.

    Args:
        head: options
        logits: of the members, shape `(sample, member, class)`
        labels: int64, shape `(sample,)`
        num_classes: number of classes
        folds: number of folds; fewer, but at least 2, where the rarest class has fewer samples (or groups)
        seed: names the folds, and is that of each fit
        groups: int64, shape `(sample,)`; a group is never divided between folds
        notes: what is to be told of the fits is appended

    Returns:
        held-out pooled logits, shape `(sample, class)`
    """
    logits, labels = logits.detach().cpu(), labels.cpu()
    groups = None if groups is None else groups.cpu()
    check_meta_samples(logits, labels, num_classes)
    fold = meta_folds(labels, folds, seed, groups)
    pooled = torch.empty(len(logits), num_classes)
    for number in range(int(fold.max()) + 1):
        held = fold == number
        module = fit_head(
            head, logits[~held], labels[~held], num_classes, seed, None if groups is None else groups[~held]
        )
        if notes is not None:
            notes += fit_notes(module)
        with torch.no_grad():
            pooled[held] = module(logits[held]).float()
    return pooled


def head_plain(head: Head) -> dict[str, Any]:
    """Write a head's options as plain Python types.

    Returns:
        `class_path` and `init_args`, as a config does
    """
    kind = type(head)
    # jsonargparse's lazy default is a subclass made on the fly
    kind = kind.__mro__[1] if kind.__name__.startswith("LazyInstance_") else kind
    assert is_dataclass(head)
    return {"class_path": class_paths.public_name(kind), "init_args": asdict(head)}


def head_from_plain(plain: dict[str, Any]) -> Head:
    """Build the options that `head_plain` wrote.

    Raises:
        ValueError: the name of something that is no head, or may not be imported
    """
    try:
        kind = class_paths.import_class(plain["class_path"])
    except class_paths.UntrustedNameError:
        raise
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"the head {plain['class_path']} is not installed here") from error
    if not (isinstance(kind, type) and issubclass(kind, Head)):
        raise ValueError(f"{plain['class_path']} is not a head")
    return kind(**plain["init_args"])
