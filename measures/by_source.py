"""What result.json says of a split whose samples come from several sources."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from measures.classification import PLAIN, metrics_by_source, pairwise_source_auroc
from measures.problem import Problem

# above this number of values of a kind, a table of classes by pairs of sources is too large to read
PAIRS_LIMIT = 10_000
# what pairs of sources are measured by, and what an entry's name ends in
PAIR_METRICS = {"auroc": "source_pairs", "f1": "source_pairs_f1", "accuracy": "source_pairs_accuracy"}

# by class, by source of its images, by source of the others
Pairs = dict[str, dict[str, dict[str, float | None]]]
# class, source of its images, source of the others, and the values by metric
PairRow = tuple[str, str, str, dict[str, float | None]]


def by_source_names(split: str) -> tuple[str, ...]:
    """Name a split's entries of its sources and of their pairs."""
    return (f"{split}_by_source", *(f"{split}_{ending}" for ending in PAIR_METRICS.values()))


def source_entries(
    split: str,
    logits: Tensor,
    labels: Tensor,
    sources: Tensor,
    class_names: Sequence[str],
    source_names: Sequence[str],
    problem: Problem = PLAIN,
) -> dict[str, Any]:
    """Measure the predictions of a split by source, and by pairs of sources where these are not too many.

    Args:
        split: such as test
        logits: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        sources: index of where each sample comes from, int64, shape `(sample,)`
        class_names: the name of each class
        source_names: the name of each source
        problem: what is known of the classes

    Returns:
        entries of result.json, named as by `by_source_names`
    """
    names = dict(zip(("", *PAIR_METRICS), by_source_names(split), strict=True))
    found: dict[str, Any] = {names[""]: metrics_by_source(logits, labels, sources, source_names, problem)}
    if len(class_names) * len(source_names) ** 2 <= PAIRS_LIMIT:
        found[names["auroc"]] = pairwise_source_auroc(logits, labels, sources, class_names, source_names)
        decided = logits.argmax(1)
        for metric, pairs in pair_decisions(decided, labels, sources, class_names, source_names).items():
            found[names[metric]] = pairs
    return found


def pair_decisions(
    decided: Tensor, labels: Tensor, sources: Tensor, class_names: Sequence[str], source_names: Sequence[str]
) -> dict[str, Pairs]:
    """Measure how well images of a class from one source are told from images of other classes from another.

    Args:
        decided: predicted class, int64, shape `(sample,)`
        labels: int64, shape `(sample,)`
        sources: index of where each sample comes from, int64, shape `(sample,)`
        class_names: the name of each class
        source_names: the name of each source

    Returns:
        for `f1` and `accuracy` of "is it this class": by class, by source of its images, by source of the others; None
        where there are no such images
    """
    present = sources.unique().tolist()
    found: dict[str, Pairs] = {"f1": {}, "accuracy": {}}
    for label in labels.unique().tolist():
        said = decided == label
        own = {number: (labels == label) & (sources == number) for number in present}
        other = {number: (labels != label) & (sources == number) for number in present}
        counts = {number: (int(own[number].sum()), int((own[number] & said).sum())) for number in present}
        rest = {number: (int(other[number].sum()), int((other[number] & said).sum())) for number in present}
        name = class_names[label]
        for pairs in found.values():
            pairs[name] = {source_names[number]: {} for number in present}
        for one, two in itertools.product(present, present):
            (positive, hit), (negative, false) = counts[one], rest[two]
            defined = positive > 0 and negative > 0
            places = source_names[one], source_names[two]
            found["f1"][name][places[0]][places[1]] = 2 * hit / (positive + hit + false) if defined else None
            right = hit + negative - false
            found["accuracy"][name][places[0]][places[1]] = right / (positive + negative) if defined else None
    return found


def pair_rows(result: Mapping[str, Any], split: str) -> list[PairRow]:
    """List the pairs of sources of a result, whatever the file holds.

    Args:
        result: what result.json holds; earlier versions know of AUROCs alone
        split: such as test

    Returns:
        class, source of its images, source of the others, and the values by metric; None where it is undefined, as
        there are no such images
    """
    tables = {metric: result.get(f"{split}_{ending}") for metric, ending in PAIR_METRICS.items()}
    places: dict[tuple[str, str, str], dict[str, float | None]] = {}
    for metric, table in tables.items():
        for name, by_one in _items(table):
            for one, by_other in _items(by_one):
                for other, value in _items(by_other):
                    if value is None:
                        places.setdefault((name, one, other), {})[metric] = None
                    elif isinstance(value, int | float) and not isinstance(value, bool):
                        places.setdefault((name, one, other), {})[metric] = float(value)
    return [(*place, values) for place, values in places.items()]


def _items(found: object) -> list[tuple[str, Any]]:
    return [(str(name), value) for name, value in found.items()] if isinstance(found, Mapping) else []
