import pytest
import torch

from ensembling.balance import repeats_for_balance


def test_repeats__each_class_then_counts_alike_and_no_sample_much_more_than_another():
    labels = torch.tensor([2, 0, 0, 1, 0, 0, 0, 1, 0, 2, 2])
    repeated = repeats_for_balance(labels)
    times = torch.bincount(torch.cat([torch.arange(len(labels)), repeated]), minlength=len(labels))
    assert torch.bincount(labels, weights=times.double()).tolist() == [6, 6, 6]
    for label in range(3):
        own = times[labels == label]
        assert own.max() - own.min() <= 1
    assert torch.equal(repeated, repeats_for_balance(labels))


def test_repeats__a_class_without_samples_is_left_out():
    assert repeats_for_balance(torch.tensor([0, 3, 3])).tolist() == [0]
    assert repeats_for_balance(torch.tensor([1, 3])).tolist() == []


def test_repeats__too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr("ensembling.balance.MOST_ROWS", 5)
    with pytest.raises(ValueError, match="balanced would repeat 4 held-out samples of 2 classes to 6, and takes 5"):
        repeats_for_balance(torch.tensor([0, 0, 0, 1]))
