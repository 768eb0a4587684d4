"""Logits and labels for tests of metrics."""

import torch


def scored(size=200, num_classes=5, seed=0, absent=(), decimals=None):
    """Draw logits that are right more often than not, and labels; some classes may be absent, some scores tied."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (size,), generator=generator)
    for label in absent:
        labels[labels == label] = (label + 1) % num_classes
    logits = torch.randn(size, num_classes, generator=generator) * 2
    logits[torch.arange(size), labels] += 1.5
    return logits if decimals is None else logits.round(decimals=decimals), labels
