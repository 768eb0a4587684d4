"""Meta samples: logits of members of different skill."""

import torch
from torch import Tensor


def meta_samples(samples: int = 300, bases: int = 3, num_classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits `(sample, base, class)` and labels; later members are better, and part of their noise is shared."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % num_classes
    logits = 1.5 * torch.randn(samples, bases, num_classes, generator=generator)
    logits += torch.randn(samples, 1, num_classes, generator=generator)
    skill = torch.linspace(1, 2, bases)[:, None]
    return logits + torch.nn.functional.one_hot(labels, num_classes)[:, None] * skill, labels
