import pickle

import pytest
import torch

from lightning_modules import MLP
from lightning_modules.checkpoints import file_sha256, load_classifier, read_checkpoint
from tests.helpers.data import Blobs
from tests.helpers.training import fit


@pytest.fixture
def checkpoint(tmp_path):
    data = Blobs()
    return fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)


def test_load_classifier__rebuilds_the_model(checkpoint):
    model = load_classifier(checkpoint)
    assert isinstance(model, MLP)
    assert model.hidden == [8]
    assert not model.training
    assert model.provenance is not None


def test_load_classifier__is_plain_data(checkpoint):
    # weights_only refuses everything but tensors and plain types
    content = torch.load(checkpoint, weights_only=True)
    assert content["architecture"]["class_path"] == "lightning_modules.mlp.MLP"


def change(path, **entries):
    content = torch.load(path, weights_only=True)
    for name, value in entries.items():
        content["architecture"][name] = value
    torch.save(content, path)


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("no_such_package.Model", "not installed here"),
        ("lightning_modules.mlp.NoSuch", "not installed here"),
        ("subprocess.Popen", "not an ImageClassifier"),
    ],
)
def test_load_classifier__other_classes_are_refused(checkpoint, class_path, message):
    change(checkpoint, class_path=class_path)
    with pytest.raises(ValueError, match=message):
        load_classifier(checkpoint)


def test_load_classifier__weights_that_do_not_fit(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    del content["state_dict"]["head.weight"]
    torch.save(content, checkpoint)
    with pytest.raises(ValueError, match="weights do not fit MLP"):
        load_classifier(checkpoint)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_read_checkpoint__runs_no_code(tmp_path, capsys):
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"evil.ckpt cannot be read"):
        read_checkpoint(tmp_path / "evil.ckpt")
    torch.save({"architecture": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil.pt cannot be read"):
        read_checkpoint(tmp_path / "evil.pt")
    assert "code ran" not in capsys.readouterr().out


def test_read_checkpoint__missing_foreign_or_cut_off(tmp_path, checkpoint):
    with pytest.raises(FileNotFoundError, match=r"no.ckpt does not exist"):
        read_checkpoint(tmp_path / "no.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="not a checkpoint of this project"):
        read_checkpoint(tmp_path / "foreign.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(checkpoint)


def test_file_sha256__changes_with_a_byte(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
