"""Splits as pure functions: labels, groups and a seed in, index arrays out; the same on every machine."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.few import few
from datamodules.draws import ByContent, ByRow, Ints
from datamodules.names import shown

LongTail = Literal["none", "exponential", "step"]
# the splits that samples are divided into
SPLITS = ("train", "val", "stack", "test")


def stratified_holdout(
    labels: Ints,
    fractions: Sequence[float],
    seed: int,
    keys: Ints | None = None,
    class_names: Sequence[str] | None = None,
    groups: Ints | None = None,
    by_content: bool = False,
) -> list[Ints]:
    """Draw disjoint stratified holdouts; what is left over comes first.

    Samples with the same content key, or of the same group, always land on the same side: neither a copy of a
    held-out image nor another picture of the same thing may be trained on.

    Args:
        labels: class of each sample, shape `(sample,)`
        fractions: share of each class for each holdout, each in [0, 1)
        seed: names the draw; the same seed gives the same split everywhere
        keys: content key of each sample, shape `(sample,)`; None takes all samples as different
        class_names: for the error message
        groups: group of each sample, shape `(sample,)`; None takes each sample for itself
        by_content: draw by hashes of keys or groups in place of the order of the samples

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
    order = _order(seed, keys, groups, "holdouts") if by_content else ByRow(seed)
    side = _deal(labels, [1 - sum(fractions), *fractions], order, keys, groups, class_names)
    return [np.flatnonzero(side == number) for number in range(len(fractions) + 1)]


def content_holdout(fraction: float, seed: int, keys: Ints, groups: Ints | None = None) -> tuple[Ints, Ints]:
    """Draw a holdout by content alone: whatever the labels of the same images are, it holds the same ones.

    A sample is held out if a hash of its content, or of its group, is below the fraction; so the size of the holdout is
    near the fraction, but not exactly it, and so are its shares of the classes.

    Args:
        fraction: share of the samples, in [0, 1)
        seed: names the draw
        keys: content key of each sample, shape `(sample,)`
        groups: group of each sample, shape `(sample,)`; None takes each sample for itself

    Returns:
        sorted indices of the remainder, and of the holdout

    Example:
        >>> rest, held = content_holdout(0.25, 0, np.arange(1000))
        >>> len(rest), len(held)
        (728, 272)
    """
    order = _order(seed, keys, groups, "holdouts")
    order.join(units(keys, groups))
    held = order.hashes / 2.0**64 < fraction
    return np.flatnonzero(~held), np.flatnonzero(held)


def stratified_folds(
    labels: Ints,
    num_folds: int,
    seed: int,
    keys: Ints | None = None,
    class_names: Sequence[str] | None = None,
    groups: Ints | None = None,
    by_content: bool = False,
) -> Ints:
    """Deal samples out to folds of nearly the same size and class shares.

    Args:
        labels: class of each sample, shape `(sample,)`
        num_folds: number of folds, at least 2
        seed: names the draw
        keys: content key of each sample; copies of an image share a fold
        class_names: for the error message
        groups: group of each sample; a group shares a fold
        by_content: draw by hashes of keys or groups in place of the order of the samples

    Returns:
        the fold of each sample, from 0, shape `(sample,)`

    Raises:
        ValueError: fewer than 2 folds, or a class too small for them

    Example:
        >>> folds = stratified_folds(np.array([0] * 6 + [1] * 3), 3, seed=0)
        >>> np.bincount(folds).tolist()
        [3, 3, 3]
    """
    if num_folds < 2:
        raise ValueError(f"there must be at least 2 folds, not {num_folds}")
    order = _order(seed, keys, groups, "folds") if by_content else ByRow(seed)
    return _deal(labels, [1 / num_folds] * num_folds, order, keys, groups, class_names, "folds")


def stratified_subset(labels: Ints, fraction: float, seed: int, keys: Ints | None = None) -> Ints:
    """Keep a share of each class, at least one sample; a smaller share is a subset of a larger one.

    Args:
        labels: class of each sample, shape `(sample,)`
        fraction: share to keep, in (0, 1]
        seed: names the draw
        keys: content key of each sample, to draw by hashes of them; None draws by the order of the samples

    Returns:
        sorted indices of what is kept

    Example:
        >>> small, large = (stratified_subset(np.zeros(10, int), f, seed=0) for f in (0.2, 0.5))
        >>> len(small), set(small) <= set(large)
        (2, True)
    """
    counts = np.bincount(labels)
    return _prefix(labels, np.where(counts, np.maximum(1, np.round(fraction * counts)), 0).astype(np.int64), seed, keys)


def long_tail(
    labels: Ints,
    profile: LongTail,
    ratio: float,
    seed: int,
    class_names: Sequence[str] | None = None,
    keys: Ints | None = None,
) -> Ints:
    """Thin classes out to a long tail, without replacement (Cui et al. 2019, arXiv:1901.05555).

    Args:
        labels: class of each sample, shape `(sample,)`
        profile: `exponential` falls from class to class in label order; `step` cuts the second half of the classes
        ratio: samples of the largest class over those of the smallest
        seed: names the draw
        class_names: for the error message
        keys: content key of each sample, to draw by hashes of them; None draws by the order of the samples

    Returns:
        sorted indices of what is kept; the head class keeps as many as the smallest class has

    Raises:
        ValueError: a class would have no sample left

    Example:
        >>> labels = np.repeat(np.arange(3), 100)
        >>> np.bincount(labels[long_tail(labels, "exponential", 100, seed=0)]).tolist()
        [100, 10, 1]
    """
    counts = np.bincount(labels, minlength=len(class_names or ()))
    classes = len(counts)
    place = np.arange(classes) / max(1, classes - 1) if profile == "exponential" else np.arange(classes) >= classes // 2
    # 50 must not become 49 by rounding of the power
    wanted = np.floor(counts.min() * (1 / ratio) ** place.astype(float) + 1e-9).astype(np.int64)
    if not wanted.all():
        empty = [shown(class_names[k] if class_names else str(k)) for k in np.flatnonzero(wanted == 0).tolist()]
        which = f"class {empty[0]}" if len(empty) == 1 else f"{len(empty)} classes"
        names = "" if len(empty) == 1 else f" ({few(empty)})"
        raise ValueError(
            f"{which} would have no image left of {counts.min()} at imbalance ratio {ratio:g}{names}: set a smaller "
            f"--data.imbalance_ratio"
        )
    return _prefix(labels, wanted, seed, keys)


def _prefix(labels: Ints, wanted: Ints, seed: int, keys: Ints | None) -> Ints:
    order = ByRow(seed) if keys is None else ByContent(keys, seed, "subset")
    kept = [order.permutation(np.flatnonzero(labels == label))[:size] for label, size in enumerate(wanted)]
    return np.sort(np.concatenate(kept))


def _order(seed: int, keys: Ints | None, groups: Ints | None, what: str) -> ByContent:
    if keys is None:
        raise ValueError("a draw by content needs the content keys")
    # a group keeps its place when it grows
    return ByContent(keys if groups is None else groups, seed, what)


def _deal(
    labels: Ints,
    shares: Sequence[float],
    order: ByRow | ByContent,
    keys: Ints | None,
    groups: Ints | None,
    class_names: Sequence[str] | None,
    what: str = "splits",
) -> Ints:
    """Return the side of each sample; see `stratified_holdout`."""
    share = np.asarray(shares)
    wanted: list[int] = np.flatnonzero(share > 0).tolist()
    if len(labels) == 0 or len(wanted) == 1:
        return np.full(len(labels), wanted[0], dtype=np.int64)
    samples = np.arange(len(labels))
    original = samples if keys is None else _first_of(keys)
    unit = original if groups is None else _joined(original, groups)
    # copies with different labels count as the first of them, which must not depend on the order of the samples
    labels = order.labels_of(labels, original)
    order.join(unit)
    distinct = np.flatnonzero(original == samples)
    # units by their first sample: one image and its copies, or a group
    size = np.bincount(unit[distinct], minlength=len(labels))
    single = distinct[size[unit[distinct]] == 1]
    classes = int(labels.max()) + 1
    totals = np.bincount(labels[distinct], minlength=classes)
    dealt = np.zeros((len(share), classes), dtype=np.int64)
    side = np.zeros(len(labels), dtype=np.int64)
    if groups is not None:
        singles = np.bincount(labels[single], minlength=classes)
        _deal_groups(labels, distinct, unit, size, share, singles, totals, dealt, side, order)
    present = np.unique(labels[distinct])
    lacking = {label: [s for s in wanted if dealt[s, label] == 0] for label in present.tolist()}
    available = np.bincount(labels[single], minlength=classes)
    if short := [label for label, sides in lacking.items() if available[label] < len(sides)]:
        kind = "distinct image(s)" if groups is None else "group(s) of images"
        have = {label: len(np.unique(unit[distinct[labels[distinct] == label]])) for label in short}
        raise ValueError(_too_few(have, class_names, kind, len(wanted), what))
    offset = 0
    for label in present:
        members = order.permutation(single[labels[single] == label])
        counts = _apportion(len(members), share * totals[label] - dealt[:, label], lacking[label], offset)
        offset += order.turn(int(totals[label])) if what == "folds" else 0
        dealt[:, label] += counts
        # the remainder comes last
        turns = [*range(1, len(share)), 0]
        side[members] = np.repeat(turns, counts[turns])
    # whatever is not the first of its unit follows it
    return side[unit]


def _too_few(have: dict[int, int], class_names: Sequence[str] | None, kind: str, sides: int, what: str) -> str:
    names = {shown(class_names[label]) if class_names else f"'{label}'": count for label, count in have.items()}
    if len(names) == 1:
        ((name, count),) = names.items()
        message = f"class {name} has {count} {kind}, too few for {sides} {what}"
    else:
        counts = few(f"{name} ({count})" for name, count in names.items())
        message = f"{len(names)} classes have too few {kind} for {sides} {what}: {counts}"
    if what == "folds":
        return f"{message}: add images, or set a smaller --data.num_folds"
    return f"{message}: add images, or set --data.val_fraction, --data.stack_fraction or --data.test_fraction to 0"


def units(keys: Ints, groups: Ints | None = None) -> Ints:
    """Join samples that are copies of one image or share a group, however indirectly.

    Args:
        keys: content key of each sample, shape `(sample,)`
        groups: group of each sample, shape `(sample,)`

    Returns:
        the index of the first sample of its unit, for each sample, shape `(sample,)`

    Example:
        >>> units(np.array([7, 8, 7, 9]), np.array([0, 1, 1, 2])).tolist()
        [0, 0, 0, 3]
    """
    original = _first_of(keys)
    return original if groups is None else _joined(original, groups)


def _first_of(values: Ints) -> Ints:
    """Return the index of the first sample with the same value."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse]


def _joined(original: Ints, groups: Ints) -> Ints:
    """Join samples that share an image or a group, however indirectly; return the first of each such unit."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, number = np.unique(groups, return_inverse=True)
    # a copy joins its group to that of the image it is a copy of; there are few
    copies = np.flatnonzero(original != np.arange(len(original)))
    ends = number[copies], number[original[copies]]
    graph = coo_array((np.ones(len(copies), dtype=bool), ends), shape=(len(names), len(names)))
    return _first_of(connected_components(graph, directed=False)[1].astype(np.int64)[number])


def _deal_groups(
    labels: Ints,
    distinct: Ints,
    unit: Ints,
    size: Ints,
    share: NDArray[np.float64],
    singles: Ints,
    totals: Ints,
    dealt: Ints,
    side: Ints,
    order: ByRow | ByContent,
) -> None:
    """Deal the units of more than one image, each to the side whose shares it serves best.

    By content, a unit goes to the first side of those its hash names that has room for half of it.
    """
    members = distinct[size[unit[distinct]] > 1]
    classes = len(totals)
    # unit and class as one number: rows of two take several times the memory
    pairs, counts = np.unique(unit[members] * classes + labels[members], return_counts=True)
    content: dict[int, list[tuple[int, int]]] = {}
    # units that still come with a class
    left = singles.tolist()
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        first, label = divmod(pair, classes)
        content.setdefault(first, []).append((label, count))
        left[label] += 1
    sides = np.flatnonzero(share > 0).tolist()
    target = {s: (share[s] * totals).tolist() for s in sides}
    have = {s: dealt[s].tolist() for s in sides}
    units = np.fromiter(content, dtype=np.int64, count=len(content))
    units = units[order.in_turn(units, size[units])]
    for first, preferred in zip(units.tolist(), order.sides(units, share), strict=True):
        allowed = sides
        for label, _ in content[first]:
            lacking = [s for s in allowed if not have[s][label]]
            if lacking and left[label] <= sum(not have[s][label] for s in sides):
                allowed = lacking
            left[label] -= 1
        room = (
            s for s in preferred if s in allowed and all(have[s][c] + n / 2 <= target[s][c] for c, n in content[first])
        )
        if (named := next(room, None)) is not None:
            allowed = [named]
        chosen = min(
            allowed,
            key=lambda s: sum(n * (n - 2 * (target[s][c] - have[s][c])) / target[s][c] for c, n in content[first]),
        )
        side[first] = chosen
        for label, count in content[first]:
            have[chosen][label] += count
    for s in sides:
        dealt[s] = have[s]


def _apportion(count: int, need: NDArray[np.float64], lacking: Sequence[int], offset: int) -> Ints:
    """Share out a number of samples by the largest remainder; each side in `lacking` gets at least one."""
    need = np.clip(need, 0, None)
    if need.sum() == 0:
        need[0] = 1
    exact = need / need.sum() * count
    counts = np.floor(exact + 1e-9).astype(np.int64)
    remainder = np.round(exact - counts, 9)
    # folds take turns with the odd samples, so that their sizes stay alike
    turn = (np.arange(len(need)) - offset) % len(need)
    counts[np.lexsort((turn, -remainder))[: count - counts.sum()]] += 1
    for number in lacking:
        if not counts[number]:
            counts[number] += 1
            counts[int(np.argmax(counts))] -= 1
    return counts
