"""Splits as pure functions: labels and a seed in, index arrays out; the same on every machine."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def stratified_holdout(
    labels: NDArray[np.int64],
    fractions: Sequence[float],
    seed: int,
    keys: NDArray[np.int64] | None = None,
    class_names: Sequence[str] | None = None,
) -> list[Indices]:
    """Draw disjoint stratified holdouts; what is left over comes first.

    Samples with the same content key always land on the same side: a copy of a held-out image must not be trained on.

    Args:
        labels: class of each sample, shape `(sample,)`
        fractions: share of each class for each holdout, each in [0, 1)
        seed: names the draw; the same seed gives the same split everywhere
        keys: content key of each sample, shape `(sample,)`; None takes all samples as different
        class_names: for the error message

    Returns:
        sorted index arrays: the remainder, then one a fraction

    Raises:
        ValueError: a fraction out of range, or a class too small to have a sample on every side

    Example:
        >>> rest, held = stratified_holdout(np.array([0, 0, 0, 0, 1, 1, 1, 1]), [0.25], seed=0)
        >>> len(rest), len(held)
        (6, 2)
    """
    if any(not 0 <= f < 1 for f in fractions) or sum(fractions) >= 1:
        raise ValueError(f"holdout fractions must be in [0, 1) and sum to less than 1, not {list(fractions)}")
    wanted = [f for f in fractions if f > 0]
    if keys is None:
        owner = np.arange(len(labels))
    else:
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        owner = first[inverse]
    side = np.zeros(len(labels), dtype=np.int64)
    distinct = np.flatnonzero(owner == np.arange(len(labels)))
    rng = np.random.Generator(np.random.PCG64(seed))
    for label in np.unique(labels):
        members = distinct[labels[distinct] == label]
        if wanted and len(members) < len(wanted) + 1:
            name = class_names[label] if class_names else str(label)
            raise ValueError(
                f"class {name!r} has {len(members)} distinct image(s), too few for {len(wanted) + 1} splits: "
                f"add images, or set the fraction of a split to 0"
            )
        members = rng.permutation(members)
        start = 0
        for number, fraction in enumerate(fractions, start=1):
            # each wanted side gets at least one, and leaves at least one to every other wanted side
            size = 0 if fraction == 0 else max(1, round(fraction * len(members)))
            size = min(size, len(members) - start - 1 - sum(f > 0 for f in fractions[number:]))
            side[members[start : start + size]] = number
            start += size
    side = side[owner]
    return [np.flatnonzero(side == number) for number in range(len(fractions) + 1)]
