"""Files of weights that the head starts from too."""

import pytest
import torch
from torch import nn

from datamodules import DataInfo
from lightning_modules import EfficientNet, ResNet, Timm
from lightning_modules.checkpoints import load_classifier
from tests.helpers.data import Blobs, data_info
from tests.helpers.families import build
from tests.helpers.training import fit
from tests.helpers.weights import embeddings, randomised, report, save, timm_resnet

pytestmark = pytest.mark.usefixtures("heard")


@pytest.fixture(scope="module")
def v2_s(tmp_path_factory):
    """torchvision's EfficientNetV2-S with weights as if trained, and a file of them."""
    models = pytest.importorskip("torchvision.models")
    theirs = models.efficientnet_v2_s(num_classes=10)
    # statistics as after training: without, the activations of so deep a network vanish or overflow
    for module in theirs.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.train().momentum = 1.0
    with torch.no_grad():
        theirs(torch.randn(4, 3, 32, 32))
    theirs.eval()
    return theirs, save(theirs.state_dict(), tmp_path_factory.mktemp("v2_s"), "v2_s.pt")


def test_v2_s__gives_torchvisions_logits(v2_s, caplog):
    theirs, path = v2_s
    model = build(EfficientNet, size=33, variant="v2_s_torchvision", weights=path, weights_head=True)
    images, _ = embeddings(model, 33)
    with torch.no_grad():
        ours, expected = model.head(model.backbone(images)), theirs(images)
    assert expected.std(0).min() > 1e-3
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert report(caplog)[0].endswith(
        f"of the backbone and the head from {path}; left out of it: nothing; new here: nothing"
    )
    assert model.provenance.unknown == (path,)


def test_v2_s__timms_of_the_same_shapes_are_refused(v2_s):
    with pytest.raises(ValueError, match="pad evenly.*--model.variant v2_s_torchvision"):
        build(EfficientNet, variant="v2_s", weights=v2_s[1])
    with pytest.raises(ValueError, match="an eps of 0.001, and those here have 1e-05: set --model.options"):
        build(Timm, name="efficientnetv2_s", input_size=32, weights=v2_s[1])
    with pytest.raises(ValueError, match="timm has no weights for v2_s_torchvision"):
        build(EfficientNet, variant="v2_s_torchvision", pretrained=True)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_head__of_timm_is_taken(prefix, tmp_path):
    import timm

    theirs = randomised(timm.create_model("resnet18", num_classes=10))
    path = save({f"{prefix}{name}": t for name, t in theirs.state_dict().items()}, tmp_path)
    model = build(ResNet, weights=path, weights_head=True).eval()
    images, _ = embeddings(model, 32)
    with torch.no_grad():
        assert torch.equal(model.head(model.backbone(images)), theirs(images))


def test_head__of_a_checkpoint_is_taken_if_its_classes_are_those_of_the_data(tmp_path):
    data = Blobs()
    path = fit(build_small(data.info), data, tmp_path, max_epochs=1)
    first = load_classifier(path)
    again = build_small(data.info, weights=str(path), weights_head=True)
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in first.state_dict().items())
    other = DataInfo.from_plain({**data.info.plain(), "class_names": ["left", "right", "middle"]})
    with pytest.raises(
        ValueError, match="is for the classes left, middle, right, and the data has left, right, middle"
    ):
        build_small(other, weights=str(path), weights_head=True)


def build_small(info, **options):
    return Timm(data_info=info, name="resnet18", options={"layers": [1] * 4}, input_size=16, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t, "is for 2 classes, and the data has 10: leave weights_head out"),
        (lambda t: {n: v for n, v in t.items() if not n.startswith("fc.")}, "and .* has none: leave weights_head out"),
        (lambda t: t | {"classifier.weight": torch.ones(10, 2)}, r"has 2 \(fc, classifier\)"),
        (
            lambda t: t | {"fc.weight": torch.ones(10, 3), "fc.bias": torch.ones(10)},
            r"is \(10, 3\), and must be \(10, 512\)",
        ),
        (lambda t: t | {"fc.weight": torch.ones(10, 512) / 0, "fc.bias": torch.ones(10)}, "NaN or infinite"),
    ],
)
def test_head__that_does_not_fit_is_refused(change, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        build(ResNet, weights=save(change(timm_resnet()), tmp_path), weights_head=True)


def test_head__needs_weights():
    with pytest.raises(ValueError, match="weights_head true needs --model.weights FILE or"):
        ResNet(data_info=data_info(), weights_head=True)
