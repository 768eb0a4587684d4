from itertools import pairwise

import pytest
import torch

from lightning_modules.optim import WarmupCosine


def rates(schedule, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule.build(optimizer, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_warmup_cosine__rises_then_falls():
    seen = rates(WarmupCosine(warmup=0.2, final=0.1), 50)
    assert seen[0] == pytest.approx(0.2)
    assert seen[9] == seen[10] == pytest.approx(2.0)
    assert all(a > b for a, b in pairwise(seen[10:]))
    assert seen[-1] == pytest.approx(0.2, rel=0.05)


def test_warmup_cosine__without_warmup_equals_torchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    expected = []
    for _ in range(30):
        expected.append(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
    assert rates(WarmupCosine(warmup=0.0), 30) == pytest.approx(expected)


@pytest.mark.parametrize("options", [{"warmup": 1.0}, {"warmup": -0.1}, {"final": 2.0}])
def test_warmup_cosine__impossible_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        WarmupCosine(**options)
