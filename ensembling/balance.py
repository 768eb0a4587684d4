"""Samples of rare classes, repeated until all classes count alike."""

import torch
from torch import Tensor

# more rows than this are a mistake: many classes, of which one is very frequent
MOST_ROWS = 2_000_000


def repeats_for_balance(labels: Tensor, seed: int = 0) -> Tensor:
    """Choose samples to repeat, so that each class has as many as the most frequent one.

    What is fitted on the samples and the repeats is fitted to a target in which all classes are equally frequent: each
    sample counts by the inverse of its class's frequency, as in class-balanced sampling (Kang et al. 2020,
    arXiv:1910.09217). No sample is repeated twice more often than another one of its class.

    Args:
        labels: int64, shape `(sample,)`
        seed: of the draw of those that are repeated once more

    Returns:
        indices of the samples to append, int64, shape `(repeat,)`; empty where classes are equally frequent

    Raises:
        ValueError: there would be too many

    Example:
        >>> repeats_for_balance(torch.tensor([0, 0, 0, 0, 1, 1])).tolist()
        [4, 5]
    """
    classes, counts = labels.unique(return_counts=True)
    most = int(counts.max())
    if (rows := most * len(classes)) > MOST_ROWS:
        raise ValueError(
            f"balanced would repeat {len(labels):,} held-out samples of {len(classes):,} classes to {rows:,}, and "
            f"takes {MOST_ROWS:,} at most: leave it out, or hold out fewer samples"
        )
    draw = torch.Generator().manual_seed(seed)
    chosen = []
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        own = (labels == label).nonzero()[:, 0]
        times, rest = divmod(most - count, count)
        chosen += [own.repeat(times), own[torch.randperm(count, generator=draw)[:rest]]]
    return torch.cat(chosen)
