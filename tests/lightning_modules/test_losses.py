import pytest
import torch

from lightning_modules.losses import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy__equals_the_definition(smoothing):
    logits, labels = torch.randn(7, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    target = torch.full((7, 4), smoothing / 4, dtype=torch.float64)
    target[torch.arange(7), labels] += 1 - smoothing
    expected = -(target * (logits - logits.logsumexp(1, keepdim=True))).sum(1).mean()
    assert CrossEntropy(smoothing)(logits, labels) == pytest.approx(expected.item())


def test_cross_entropy__impossible_smoothing():
    with pytest.raises(ValueError, match="label_smoothing"):
        CrossEntropy(1.0)
