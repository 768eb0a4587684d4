"""Pretrained weights that timm brings."""

import pytest
import torch

from lightning_modules import MLP, Linear, ResNet, SmallCNN
from lightning_modules.families.timm_backbones import pretrained_network
from lightning_modules.normalization import IMAGENET
from tests.helpers.cli import run
from tests.helpers.families import build
from tests.helpers.weights import randomised, report

pytestmark = pytest.mark.usefixtures("heard")

# timm's own


@pytest.fixture
def online(monkeypatch):
    """timm gives any weights for those that it would download."""
    import timm

    create = timm.create_model
    given = {}

    def create_model(name, pretrained=False, **options):
        network = create(name, **options)
        if pretrained:
            given[name] = randomised(network).state_dict()
        return network

    monkeypatch.setattr(timm, "create_model", create_model)
    return given


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_pretrained__comes_from_timm(stem, online, caplog):
    model = build(ResNet, stem=stem, channels=1, pretrained=True)
    assert torch.equal(model.backbone.layer4[1].conv2.weight, online["resnet18"]["layer4.1.conv2.weight"])
    assert model.preprocessing.mean.flatten().tolist() == pytest.approx([sum(IMAGENET[0]) / 3])
    assert "tensors of the backbone from timm's resnet18; left out of it: " in report(caplog)[0]
    # a known origin, though none of its images are
    assert model.provenance.origins() == {"published_data": ["ImageNet (timm's resnet18.a1_in1k)"]}


@pytest.mark.parametrize("error", [OSError("[Errno -3] no name"), RuntimeError("offline\nmore"), KeyError()])
def test_pretrained__without_a_network_says_the_way_out(error, monkeypatch):
    import timm

    create = timm.create_model

    def create_model(name, pretrained=False, **options):
        if pretrained:
            raise error
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(OSError, match=r"weights of resnet18 \(.*\)\. Without a network, .* --model.weights FILE"):
        build(ResNet, pretrained=True)


@pytest.mark.parametrize("family", [MLP, Linear, SmallCNN])
def test_pretrained__a_class_that_names_no_architecture(family):
    told = f"--model.pretrained: {family.__name__} does not say which architecture of timm .* property timm_name"
    with pytest.raises(ValueError, match=told):
        build(family, pretrained=True)


def test_pretrained__an_architecture_without_weights():
    with pytest.raises(ValueError, match="--model.pretrained: timm knows efficientnet_b6, but has no weights of it"):
        pretrained_network("efficientnet_b6", {})


def test_pretrained__and_weights_are_refused():
    with pytest.raises(ValueError, match="--model.weights and --model.pretrained"):
        build(ResNet, pretrained=True, weights="a.pth")


@pytest.mark.parametrize(
    "option", [("weights", "a.pth"), ("pretrained", "true"), ("freeze", "backbone"), ("normalization", "data")]
)
def test_stack__takes_none_of_the_options(option, capsys):
    name, value = option
    assert run("fit", "--model", "StackingModule", "--model.bases", "[a.ckpt]", f"--model.{name}", value) == 2
    assert f"unknown option --model.{name}" in capsys.readouterr().err
