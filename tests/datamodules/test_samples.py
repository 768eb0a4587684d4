import torch

from datamodules.samples import Samples, TensorSource
from tests.helpers.data import random_images


def test_subset__shares_the_inputs():
    tensor = random_images(6, 1, 4)
    every = Samples(
        TensorSource(tensor), torch.arange(6), torch.arange(6), torch.arange(6) + 10, torch.arange(6), "abcdef"
    )
    part = every.subset(torch.tensor([5, 1])).subset(torch.tensor([0]))
    assert part.source is every.source
    assert part.ids.tolist() == [15]
    assert part.sample_names() == ["f"]
    assert len(part) == 1


def test_subset__keeps_sources_and_groups():
    numbers = torch.arange(6)
    every = Samples(
        TensorSource(random_images(6, 1, 4)), numbers, numbers, numbers, numbers, "abcdef", numbers % 2, numbers // 2
    )
    part = every.subset([5, 2])
    assert part.sources.tolist() == [1, 0]
    assert part.group_array().tolist() == [2, 1]
    served = part.with_source(TensorSource(torch.zeros(2, 3), "logits"))
    assert served.sources.tolist() == [1, 0]
    assert served.sample_names() == ["f", "c"]
