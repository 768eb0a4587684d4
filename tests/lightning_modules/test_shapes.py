import torch
from torch import nn

from lightning_modules.shapes import meta_copy, output_shape


def test_output_shape__computes_nothing():
    assert output_shape(nn.Conv2d(3, 4, 3), (3, 10, 12)) == (4, 8, 10)
    assert output_shape(nn.Conv2d(3, 4, 3), (3, 2, 2)) is None


def test_meta_copy__leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = meta_copy(network)
    assert {value.device.type for value in copy.state_dict().values()} == {"meta"}
    assert not copy.training
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
