"""Files of weights that do not fit, are damaged, or are unsafe."""

import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_modules import Linear, ResNet, SmallCNN
from lightning_modules.checkpoint_io import file_sha256
from records.damaged import DamagedFileError
from tests.helpers.families import build
from tests.helpers.weights import save, timm_resnet

pytestmark = pytest.mark.usefixtures("heard")

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
