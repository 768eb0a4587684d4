"""Accuracy of frequent and of rare classes apart, as for data with a long tail."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

# classes are told apart where the most frequent one has so many times the training images of the rarest
LONG_TAIL = 10
PARTS = ("many", "medium", "few")


def frequency_parts(class_counts: Sequence[int]) -> dict[str, list[int]]:
    """Divide classes into thirds by their training images: many, medium and few.

    Args:
        class_counts: training images of each class, in label order

    Returns:
        the classes of each third, the most frequent first; of classes that do not divide evenly the first thirds have
        one more; nothing where there are fewer than three classes, or no long tail

    Example:
        >>> frequency_parts([50, 5000, 83, 139])
        {'many': [1, 3], 'medium': [2], 'few': [0]}
        >>> frequency_parts([50, 60, 70])
        {}
    """
    if len(class_counts) < len(PARTS) or max(class_counts) < LONG_TAIL * max(min(class_counts), 1):
        return {}
    order = np.argsort(-np.asarray(class_counts), kind="stable")
    return {name: part.tolist() for name, part in zip(PARTS, np.array_split(order, len(PARTS)), strict=True)}


def accuracy_by_frequency(
    probabilities: Tensor, labels: Tensor, parts: Mapping[str, Sequence[int]]
) -> dict[str, float | None]:
    """Compute the mean recall of the classes of each part; None where none of them has a sample.

    Args:
        probabilities: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        parts: classes by the name of the part; see `frequency_parts`
    """
    right = probabilities.argmax(1) == labels
    recall = {label: float(right[labels == label].double().mean()) for label in labels.unique().tolist()}
    found = {name: [recall[label] for label in part if label in recall] for name, part in parts.items()}
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}
