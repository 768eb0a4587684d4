import pickle
import random

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_modules import MLP
from lightning_modules.checkpoint_io import file_sha256
from lightning_modules.checkpoints import load_classifier, read_checkpoint, refuse_lost_best
from records.damaged import DamagedFileError
from tests.helpers.data import Blobs
from tests.helpers.training import fit, trainer


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
    assert content["architecture"]["class_path"] == "lightning_modules.MLP"


def change(path, **entries):
    content = torch.load(path, weights_only=True)
    for name, value in entries.items():
        content["architecture"][name] = value
    torch.save(content, path)


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("lightning_modules.families.mlp.NoSuch", "not installed here"),
        ("torch.no_such_module.Model", "not installed here"),
        ("torch.nn.Linear", "not a model of this project"),
        ("no_such_package.Model", "model.ckpt: no_such_package.Model is not imported.*add --allow no_such_package"),
        ("subprocess.Popen", "model.ckpt: subprocess.Popen is not imported"),
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
    with pytest.raises(ValueError, match=r"evil.ckpt is damaged"):
        read_checkpoint(tmp_path / "evil.ckpt")
    torch.save({"architecture": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil.pt is unsafe: besides tensors it holds print"):
        read_checkpoint(tmp_path / "evil.pt")
    assert "code ran" not in capsys.readouterr().out


def test_read_checkpoint__missing_foreign_or_cut_off(tmp_path, checkpoint):
    with pytest.raises(FileNotFoundError, match=r"no.ckpt does not exist"):
        read_checkpoint(tmp_path / "no.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="not a checkpoint of this project"):
        read_checkpoint(tmp_path / "foreign.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(DamagedFileError, match=r"model.ckpt is damaged .*copy it again"):
        read_checkpoint(checkpoint)


def test_file_sha256__changes_with_a_byte(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# damage


def test_load_classifier__every_cut_and_flipped_bit_is_told(checkpoint):
    whole, told = checkpoint.read_bytes(), 0
    choose = random.Random(0)
    for place in choose.sample(range(len(whole)), 40):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << choose.randrange(8)
        for content in (bytes(flipped), whole[:place]):
            checkpoint.write_bytes(content)
            with pytest.raises(DamagedFileError, match=f"{checkpoint} is damaged .*copy it again"):
                load_classifier(checkpoint)
            told += 1
    assert told == 80


@pytest.mark.parametrize(
    "field",
    [
        ["state_dict"],
        ["architecture", "class_path"],
        ["architecture", "init_args"],
        ["architecture", "init_args", "data_info"],
        ["architecture", "init_args", "data_info", "class_names"],
        ["data_record", "digests"],
        ["train_sums", "count"],
    ],
)
@pytest.mark.parametrize("value", [None, "text"])
def test_read_checkpoint__a_field_that_is_missing_or_something_else_is_named(checkpoint, field, value):
    content = torch.load(checkpoint, weights_only=True)
    *above, last = field
    inner = content
    for name in above:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = 1 if last == "class_path" else value
    torch.save(content, checkpoint)
    message = f"{'.'.join(field)} is {'missing' if value is None else 'of type'}"
    with pytest.raises(DamagedFileError, match=f"model.ckpt is damaged .{message}"):
        read_checkpoint(checkpoint)


def test_load_classifier__integers_are_no_weights(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["head.weight"] = content["state_dict"]["head.weight"].long()
    torch.save(content, checkpoint)
    with pytest.raises(
        ValueError, match="model.ckpt: 1 of its .* such as head.weight is of int64, and must be of float32"
    ):
        load_classifier(checkpoint)


def test_read_checkpoint__a_known_digest_stands_for_the_checksums(checkpoint):
    digest = file_sha256(checkpoint)
    assert read_checkpoint(checkpoint, digest=digest)["epoch"] == 1
    with pytest.raises(ValueError, match="model.ckpt was written anew while it was read"):
        read_checkpoint(checkpoint, digest=digest[::-1])


def last_of_a_run(folder, **options):
    """The checkpoint of a run's last epoch, beside that of its best one if validation has chosen one."""
    data = Blobs(**options)
    best = ModelCheckpoint(folder, filename="best", monitor="val/accuracy", mode="max", enable_version_counter=False)
    fitting = trainer(folder, callbacks=[best] if len(data.splits["val"]) else [], max_epochs=1)
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    fitting.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


def test_lost_best__the_last_epoch_does_not_stand_for_it(tmp_path):
    last = last_of_a_run(tmp_path, val_fraction=0.3)
    assert refuse_lost_best(last) == last
    (tmp_path / "best.ckpt").unlink()
    with pytest.raises(FileNotFoundError, match=r"best\.ckpt is missing, though validation has chosen it: restore it"):
        refuse_lost_best(last)


def test_lost_best__without_validation_the_last_epoch_is_meant(tmp_path):
    last = last_of_a_run(tmp_path, val_fraction=0)
    (tmp_path / "best.ckpt").unlink(missing_ok=True)
    assert refuse_lost_best(last) == last
