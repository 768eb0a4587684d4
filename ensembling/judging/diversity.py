"""How differently the members of a stack err."""

import itertools
import statistics
from collections.abc import Mapping
from typing import Any

from torch import Tensor

MEASURES = ("disagreement", "error_correlation", "double_fault", "q_statistic")


def diversity(logits: Mapping[str, Tensor], labels: Tensor) -> dict[str, Any]:
    """Compare the predictions of each pair of members (Kuncheva and Whitaker 2003).

    Args:
        logits: by member, shape `(sample, class)`
        labels: int64, shape `(sample,)`

    Returns:
        `pairs`: a row a pair with the names of its `members` and its measures, and `mean`: each measure's mean over the
        pairs that it is defined for. The measures: disagreement (share of samples that get different classes), error
        correlation (of being wrong), double fault (share of samples on which both are wrong), Q-statistic (1 where one
        is right only where the other one is, 0 where errors are independent); None where undefined
    """
    top = {name: rows.argmax(1) for name, rows in logits.items()}
    pairs = list(itertools.combinations(top, 2))
    compared = [compare(top[one], top[other], labels) for one, other in pairs]
    mean = {}
    for measure in MEASURES:
        known = [value for values in compared if (value := values[measure]) is not None]
        mean[measure] = statistics.mean(known) if known else None
    rows = [{"members": list(pair), **values} for pair, values in zip(pairs, compared, strict=True)]
    return {"pairs": rows, "mean": mean}


def compare(one: Tensor, other: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Measure how differently two members predict and err.

    Args:
        one: predicted classes, int64, shape `(sample,)`
        other: predicted classes of the other, shape `(sample,)`
        labels: int64, shape `(sample,)`

    Returns:
        by measure; None where undefined
    """
    right, also = one == labels, other == labels
    both, neither = float((right & also).double().mean()), float((~right & ~also).double().mean())
    only, not_only = float((right & ~also).double().mean()), float((~right & also).double().mean())
    contrast = both * neither - only * not_only
    spread = ((both + only) * (neither + not_only) * (both + not_only) * (neither + only)) ** 0.5
    odds = both * neither + only * not_only
    return {
        "disagreement": float((one != other).double().mean()),
        "error_correlation": contrast / spread if spread else None,
        "double_fault": neither,
        "q_statistic": contrast / odds if odds else None,
    }
