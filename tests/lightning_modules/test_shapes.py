import pytest
import torch
from torch import nn

from ensembling.heads import LogisticHead, MeanHead, MLPHead, VoteHead
from lightning_modules.shapes import layer_shapes, meta_copy, output_shape


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


class Partly(nn.Sequential):
    def forward(self, x):
        return self[1](self[0](x))


def test_layer_shapes__of_each_module_that_is_run():
    network = Partly(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(36, 2))
    whole = {"0": (4, 3, 3), "1": (36,), "1.0": (4, 3, 3), "1.1": (36,), "": (36,)}
    assert layer_shapes(network, (3, 5, 5)) == whole
    assert not any(module._forward_hooks for module in network.modules())
    assert layer_shapes(nn.Conv2d(3, 4, 3), (3, 2, 2)) == {}


@pytest.mark.parametrize("head", [LogisticHead(), MLPHead(), VoteHead(), MeanHead()], ids=lambda head: head.name)
def test_layer_shapes__of_heads(head):
    assert layer_shapes(head.build(3, 4), (3, 4))[""] == (4,)
