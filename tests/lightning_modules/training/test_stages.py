import pytest
from torch import nn

from lightning_modules import MLP, VGG, ConvNeXt, CustomCNN, EfficientNet, Linear, ResNet, SmallCNN
from lightning_modules.training.stages import stages
from tests.helpers.families import build

FAMILIES = [
    (MLP, {}, ["1", "5"]),
    (Linear, {}, []),
    (SmallCNN, {}, ["0", "3", "7"]),
    (CustomCNN, {}, ["0", "3", "7", "10", "14", "17", "21", "24", "30"]),
    (ResNet, {"variant": "18"}, ["conv1", "layer1", "layer2", "layer3", "layer4"]),
    (ResNet, {"stem": "cifar"}, ["conv1", "layer1", "layer2", "layer3", "layer4"]),
    (EfficientNet, {"variant": "lite0"}, ["conv_stem", *(f"blocks.{n}" for n in range(7)), "conv_head"]),
    (EfficientNet, {"variant": "v2_rw_t"}, ["conv_stem", *(f"blocks.{n}" for n in range(6)), "conv_head"]),
    (ConvNeXt, {}, ["stem", *(f"stages.{n}" for n in range(4))]),
    (VGG, {}, [*(f"features.{n}" for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)), "dense"]),
]


@pytest.mark.parametrize(("family", "options", "names"), FAMILIES, ids=lambda value: getattr(value, "__name__", ""))
def test_stages__hold_each_parameter_once(family, options, names):
    backbone = build(family, **options).backbone
    found = stages(backbone)
    assert list(found) == names
    held = [id(p) for modules in found.values() for module in modules for p in module.parameters()]
    # also in the order of the network
    assert held == [id(p) for p in backbone.parameters()]


def test_stages__a_normalisation_belongs_to_the_stage_before():
    backbone = build(ResNet).backbone
    assert stages(backbone)["conv1"] == [backbone.conv1, backbone.bn1]
    backbone = build(ConvNeXt).backbone
    assert stages(backbone)["stages.3"] == [backbone.stages[3], backbone.head]


def test_stages__of_a_single_layer():
    layer = nn.Conv2d(3, 4, 1)
    assert stages(layer) == {"backbone": [layer]}
