"""Which samples an ImageDataModule's options hold out of training, or leave out of it."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn

from common.few import few
from datamodules.names import matching, unknown_names
from datamodules.samples import Samples
from datamodules.splits import long_tail, stratified_folds, stratified_subset

if TYPE_CHECKING:
    from datamodules.base import ImageDataModule


def hold_out(data: "ImageDataModule", samples: Samples) -> tuple[Samples, Samples | None]:
    """Hold out a fold or a source, as the options ask.

    Args:
        data: has the options
        samples: to hold out from

    Returns:
        the rest, without copies and groups of what is held out; and that, or None if nothing is

    Raises:
        ValueError: there is no such source, or too few samples for the folds
    """
    class_names, source_names = data.dataset.class_names, data.dataset.source_names
    if data.num_folds is not None:
        labels, keys, groups = samples.labels.numpy(), samples.keys.numpy(), samples.group_array()
        folds = stratified_folds(labels, data.num_folds, data.split_seed, keys, class_names, groups)
        held = folds == data.fold
    elif data.leave_out_source is not None:
        source = matching(data.leave_out_source, source_names)
        if samples.sources is None or source is None:
            known = few(source_names, shown=20) or "none: a manifest with a source column has them"
            asked = unknown_names([data.leave_out_source], source_names)
            raise ValueError(f"--data.leave_out_source: there is no source {asked} ({known})")
        held = samples.sources.numpy() == source_names.index(source)
        if not held.any():
            raise ValueError(f"--data.leave_out_source {data.leave_out_source!r} has no image outside the test split")
    else:
        return samples, None
    rest, out = samples.subset(np.flatnonzero(~held)), samples.subset(np.flatnonzero(held))
    return _without_shared(rest, out), out


def thin_out(data: "ImageDataModule", samples: Samples) -> Samples:
    """Leave out training samples, as the options ask: a long tail, a nested subset.

    Args:
        data: has the options
        samples: of training

    Raises:
        ValueError: a class would be left without any
    """
    if data.long_tail != "none":
        labels = samples.labels.numpy()
        samples = samples.subset(
            long_tail(labels, data.long_tail, data.imbalance_ratio, data.split_seed, data.dataset.class_names)
        )
    if data.subsample < 1:
        samples = samples.subset(stratified_subset(samples.labels.numpy(), data.subsample, data.split_seed))
    return samples


def _without_shared(samples: Samples, held: Samples) -> Samples:
    """Leave out copies of what is held out, and images of its groups, which a source may share with others."""
    shared = torch.isin(samples.keys, held.keys)
    if samples.groups is not None and held.groups is not None:
        shared |= torch.isin(samples.groups, held.groups)
    if shared.any():
        rank_zero_warn(
            f"{int(shared.sum())} training images are left out: they are copies of images that are held out, or of the "
            f"same groups"
        )
    return samples.subset(torch.nonzero(~shared)[:, 0])
