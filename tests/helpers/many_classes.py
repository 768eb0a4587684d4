"""Logits of overconfident members on many classes, some of which resemble each other."""

import torch
from torch import Tensor


def many_classes(
    samples: int, members: int, classes: int, skill: float = 1.0, rank: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return logits `(sample, member, class)` and labels.

    An image shows a point near that of its class; members see it and the classes a little otherwise each, so that
    their errors go together, and their logits are twice what would be calibrated.

    Args:
        samples: number of samples
        members: number of members
        classes: number of classes
        skill: with 1 members are right in half to three quarters of 30 to 1,000 classes, with 2 in nearly all of few
        rank: dimensions of the space in which classes are points; fewer make classes more alike
        seed: of the draw
    """
    generator = torch.Generator().manual_seed(seed)
    rank = rank or max(8, 2 * int(classes**0.5))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    labels = torch.randint(classes, (samples,), generator=generator)
    points = normal(classes, rank) / rank**0.5
    shown = skill * points[labels] + 0.25 * normal(samples, rank)
    logits = torch.empty(samples, members, classes)
    for member in range(members):
        known = points + 0.15 * normal(classes, rank) / rank**0.5
        seen = shown + 0.15 * normal(samples, rank)
        logits[:, member] = 10 * seen @ known.T - 5 * known.square().sum(1) + 0.7 * normal(samples, classes)
    return 2 * logits, labels
