from copy import deepcopy

import pytest
import torch

from lightning_modules import MLP
from lightning_modules.checkpoint_io import WholeFileIO
from pipelines.cli.restoring import CheckedRestore
from records.damaged import DamagedFileError
from tests.helpers.data import Blobs
from tests.helpers.training import fit, trainer


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    data = Blobs()
    path = fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path_factory.mktemp("restoring"), max_epochs=1)
    return torch.load(path, weights_only=True)


def resume(content, folder, function="fit"):
    torch.save(content, folder / "last.ckpt")
    data = Blobs()
    going_on = trainer(folder, max_epochs=2, enable_checkpointing=False)
    going_on._checkpoint_connector = CheckedRestore(going_on)
    going_on.strategy.checkpoint_io = WholeFileIO()
    model = MLP(data_info=data.info, hidden=[8])
    getattr(going_on, function)(model, datamodule=data, ckpt_path=folder / "last.ckpt")
    return going_on


def changed(content, *path, value=None):
    content = deepcopy(content)
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


def test_resume__a_whole_checkpoint(content, tmp_path):
    assert resume(content, tmp_path).current_epoch == 2


@pytest.mark.parametrize(
    "path",
    [
        ("epoch",),
        ("global_step",),
        ("pytorch-lightning_version",),
        ("state_dict",),
        ("loops",),
        ("loops", "fit_loop"),
        ("loops", "fit_loop", "epoch_progress"),
        ("loops", "fit_loop", "epoch_progress", "total", "ready"),
        ("loops", "fit_loop", "epoch_loop.batch_progress"),
        ("callbacks",),
        ("optimizer_states",),
        ("optimizer_states", 0, "param_groups"),
        ("lr_schedulers",),
        ("train_sums", "sums"),
        ("Blobs", "batches"),
        ("loops", "fit_loop", "state_dict", "combined_loader", 0, "samples"),
    ],
)
@pytest.mark.parametrize("value", [None, "text"])
def test_resume__a_part_that_is_missing_or_something_else_is_told(content, path, value, tmp_path):
    broken = changed(content, *path, value=value)
    if path[-1] in ("pytorch-lightning_version", "samples"):
        # a text by rights
        broken = changed(content, *path, value=None if value is None else 3)
    with pytest.raises(ValueError, match="last.ckpt"):
        resume(broken, tmp_path)


def test_resume__the_state_of_the_data_must_be_there(content, tmp_path):
    known = {**content, "config": {"data": {"class_path": "tests.helpers.data.Blobs"}}}
    with pytest.raises(DamagedFileError, match="last.ckpt is damaged .Blobs is missing"):
        resume(changed(known, "Blobs"), tmp_path)


def test_resume__weights_alone(content, tmp_path):
    alone = {name: value for name, value in content.items() if name not in ("callbacks", "optimizer_states")}
    with pytest.raises(ValueError, match="last.ckpt holds weights alone, .*--model.weights"):
        resume(alone, tmp_path)
    resume(alone, tmp_path, "test")


def test_test__weights_that_do_not_fit_are_told_with_the_file(content, tmp_path):
    with pytest.raises(ValueError, match="last.ckpt: the weights do not fit the model's options: .*head.bias"):
        resume(changed(content, "state_dict", "head.bias"), tmp_path, "test")
    whole = changed(content, "state_dict", "head.bias", value=torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="last.ckpt: 1 of its .* head.bias is of int64, and must be of float32"):
        resume(whole, tmp_path, "test")
