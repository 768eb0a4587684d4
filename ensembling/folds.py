"""Folds of the meta samples."""

import numpy as np
import torch
from torch import Tensor

from datamodules.splits import stratified_folds, units


def meta_folds(labels: Tensor, folds: int, seed: int, groups: Tensor | None = None, lower: bool = True) -> Tensor:
    """Deal meta samples out to stratified folds, whatever their classes' sizes.

    Args:
        labels: int64, shape `(sample,)`
        folds: number of folds wanted, at least 2
        seed: names the draw
        groups: int64, shape `(sample,)`; a group shares a fold
        lower: make fewer folds, but at least 2, where the rarest class has too few samples (or groups) to be in each;
            otherwise, and for a class with a single one, that class is spread as the largest class is

    Returns:
        fold of each sample, from 0, int64, shape `(sample,)`

    Raises:
        ValueError: fewer than 2 samples or groups
    """
    classes = labels.numpy()
    units = np.arange(len(classes)) if groups is None else groups.numpy()
    # each class's samples, or groups, counted once
    held, counts = np.unique(np.unique(np.stack([classes, units]), axis=1)[0], return_counts=True)
    total = len(np.unique(units))
    if total < 2:
        raise ValueError(f"{total} meta sample(s) or group(s) are too few to hold some out")
    enough = counts[counts > 1]
    folds = min(folds, total)
    if lower and len(enough):
        folds = min(folds, int(enough.min()))
    folds = max(folds, 2)
    small = held[counts < folds]
    classes = np.where(np.isin(classes, small), held[counts.argmax()], classes)
    try:
        dealt = stratified_folds(classes, folds, seed, groups=None if groups is None else units)
    except ValueError:
        # groups that hold several classes, or few samples in all: not stratified then
        dealt = stratified_folds(np.zeros_like(classes), folds, seed, groups=None if groups is None else units)
    return torch.from_numpy(dealt)


def join_copies(keys: Tensor, groups: Tensor | None = None) -> Tensor | None:
    """Put copies of an image into one group: what is held out must not be known from a copy.

    Args:
        keys: content key of each sample, int64, shape `(sample,)`
        groups: int64, shape `(sample,)`

    Returns:
        groups that copies join, int64, shape `(sample,)`; as given where no image comes twice
    """
    if len(keys.unique()) == len(keys):
        return groups
    return torch.from_numpy(units(keys.numpy(), None if groups is None else groups.numpy()))
