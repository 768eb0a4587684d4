import pytest
import torch
from torch.nn import functional

from lightning_modules.training.epoch_sums import EpochSums


def batch(size, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, 3, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (size,), generator=generator)
    return functional.cross_entropy(logits, labels), logits, labels


def test_sums__are_of_samples_rather_than_of_batches():
    sums, batches = EpochSums(), [batch(8, 0), batch(3, 1)]
    sums.move(torch.device("cpu"))
    for one in batches:
        sums.add(*one)
    loss, hits, count = sums.with_count().tolist()
    logits, labels = (torch.cat([one[n] for one in batches]) for n in (1, 2))
    assert count == 11
    assert loss / count == pytest.approx(functional.cross_entropy(logits, labels).item())
    assert hits == (logits.argmax(1) == labels).sum().item()
    # nothing of the graph is kept
    assert not sums.sums.requires_grad


def test_sums__go_on_from_a_saved_state():
    whole, first, second = EpochSums(), EpochSums(), EpochSums()
    whole.add(*batch(8, 0))
    first.add(*batch(8, 0))
    second.load_state_dict(first.state_dict())
    for sums in (whole, second):
        sums.add(*batch(3, 1))
    assert torch.equal(whole.with_count(), second.with_count())
    whole.clear()
    assert whole.with_count().tolist() == [0, 0, 0]
