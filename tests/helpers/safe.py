"""What two runs must have in common to count as the same."""

import torch


def same(one, other):
    """Tell whether two nested values are the same to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def different(one, other):
    """Name the entries in which two dicts differ."""
    return [key for key in one if not same(one[key], other[key])]
