import pytest
import torch

from ensembling.label_check import label_notes, pairing

NAMES = [f"class {number}" for number in range(10)]


def draws(samples, accuracy, seed=0, classes=10):
    """Labels, and predictions that are right so often."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (samples,), generator=generator)
    right = torch.rand(samples, generator=generator) < accuracy
    return torch.where(right, labels, torch.randint(0, classes, (samples,), generator=generator)), labels


def test_notes__shifted_labels_are_told_with_the_renaming():
    predicted, labels = draws(500, 0.9)
    (note,) = label_notes(predicted, (labels + 1) % 10, NAMES)
    assert note.startswith("accuracy 0.0120 is below the 0.0999 of chance")
    assert "it would be 0.8940 were classes renamed" in note
    assert "class 0 -> class 1" in note
    assert "and 7 more" in note


def test_notes__two_classes_that_have_changed_places_are_told():
    predicted, labels = draws(2000, 0.95, classes=4)
    swapped = torch.tensor([1, 0, 2, 3])[labels]
    (note,) = label_notes(predicted, swapped, NAMES[:4])
    assert "(class 0 -> class 1, class 1 -> class 0)" in note


def test_notes__below_chance_without_a_renaming():
    labels = torch.arange(600) % 3
    # each wrong class equally often
    predicted = (labels + 1 + torch.arange(600) // 3 % 2) % 3
    (note,) = label_notes(predicted, labels, NAMES[:3])
    assert note.startswith("accuracy 0.0000 is below the 0.3333 of chance: are the labels")


@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("samples", [1, 5, 20, 100, 1000])
def test_notes__honest_models_have_none(accuracy, samples):
    assert all(not label_notes(*draws(samples, accuracy, seed), NAMES) for seed in range(20))


def test_notes__one_class_or_no_sample_have_none():
    assert label_notes(torch.zeros(50, dtype=torch.int64), torch.zeros(50, dtype=torch.int64), NAMES) == []
    assert label_notes(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), NAMES) == []


def test_pairing__classes_without_a_sample_keep_their_names():
    assert pairing(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0]), 4).tolist() == [1, 0, 2, 3]
