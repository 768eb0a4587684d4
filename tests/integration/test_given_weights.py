"""A file of weights with its head becomes a member of a stack, as it is."""

import pytest
import torch

from lightning_modules.checkpoints import load_classifier
from pipelines.cli.parsed_cli import DEFAULTS
from tests.helpers.cli import result, run
from tests.helpers.weights import randomised, save

AS_LOADED = DEFAULTS.parent / "trainer/as_loaded.yaml"


def test_as_loaded__a_file_of_torchvision_is_a_member(tmp_path, capsys):
    models = pytest.importorskip("torchvision.models")
    theirs = randomised(models.resnet18(num_classes=10))
    path = save(theirs.state_dict(), tmp_path, "resnet18.pt")
    model, data = (
        ("--model", "ResNet", "--model.weights", path, "--model.input_size", 16),
        ("--data.stack_fraction", 0.1),
    )
    assert run("fit", *model, "--config", AS_LOADED, *data, "--trainer.limit_val_batches", 1, root=tmp_path) == 0
    folder = tmp_path / "digits/resnet_18"
    loaded = load_classifier(folder / "checkpoints/best.ckpt")
    ours, wanted = (list(state.values()) for state in (loaded.backbone.state_dict(), theirs.state_dict()))
    # digits are grey: the first convolution is summed over its channels
    assert torch.allclose(ours.pop(0), wanted.pop(0).sum(1, keepdim=True))
    ours += [loaded.head.weight, loaded.head.bias]
    assert all(torch.equal(one, other) for one, other in zip(ours, wanted, strict=True))
    stack = ("fit", "--model", "StackingModule", "--model.bases", f"[{folder}]", "--model.logit_cache", "null", *data)
    capsys.readouterr()
    assert run(*stack, root=tmp_path) == 2
    assert f"fitted on unknown images: {path}" in capsys.readouterr().err
    assert run(*stack, "--model.allow_unknown", "true", "--run.name", "allowed", root=tmp_path) == 0
    assert result(tmp_path, name="allowed")["unknown_images"] == [path]
