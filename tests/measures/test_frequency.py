import pytest
import torch

from measures.frequency import accuracy_by_frequency, frequency_parts


def test_parts__those_of_cifar10_with_a_long_tail():
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert frequency_parts(counts) == {"many": [0, 1, 2, 3], "medium": [4, 5, 6], "few": [7, 8, 9]}


@pytest.mark.parametrize("counts", [[], [100, 1], [99, 50, 10]])
def test_parts__there_are_none_without_a_long_tail(counts):
    assert frequency_parts(counts) == {}


def test_accuracy__is_the_mean_of_recalls():
    labels = torch.tensor([0, 0, 0, 1, 2])
    probabilities = torch.eye(4)[[0, 0, 1, 1, 0]]
    found = accuracy_by_frequency(probabilities, labels, {"many": [0, 1], "medium": [2], "few": [3]})
    assert found == {"many": pytest.approx(5 / 6), "medium": 0.0, "few": None}
