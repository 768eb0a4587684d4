"""A file of weights with its head becomes a member of a stack, as it is."""

import torch

from lightning_modules import SmallCNN
from lightning_modules.checkpoints import load_classifier
from pipelines.cli.parsed_cli import DEFAULTS
from tests.helpers.cli import result, run
from tests.helpers.families import build
from tests.helpers.weights import save

AS_LOADED = DEFAULTS.parent / "trainer/as_loaded.yaml"


def test_as_loaded__a_file_with_its_head_is_a_member(tmp_path, capsys):
    theirs = build(SmallCNN, 1, 12)
    body, head = theirs.backbone.state_dict(), theirs.head.state_dict()
    path = save(body | {f"classifier.{name}": tensor for name, tensor in head.items()}, tmp_path)
    model = ("--model", "SmallCNN", "--model.weights", path, "--model.input_size", 12, "--config", AS_LOADED)
    held_out = ("--data.stack_fraction", 0.1, "--data.subsample", 0.1)
    assert run("fit", *model, *held_out, root=tmp_path) == 0
    folder = tmp_path / "digits/small_cnn"
    loaded = load_classifier(folder / "checkpoints/best.ckpt")
    assert all(torch.equal(tensor, loaded.backbone.state_dict()[name]) for name, tensor in body.items())
    assert all(torch.equal(tensor, loaded.head.state_dict()[name]) for name, tensor in head.items())
    stack = ("fit", "--model", "StackingModule", "--model.bases", f"[{folder}]", "--model.logit_cache", "null")
    capsys.readouterr()
    assert run(*stack, *held_out, root=tmp_path) == 2
    assert f"fitted on unknown images: {path}" in capsys.readouterr().err
    # a head without options is written and read back too
    stack += ("--model.allow_unknown", "true", "--model.meta_model", "VoteHead", "--run.name", "allowed")
    assert run(*stack, *held_out, root=tmp_path) == 0
    assert result(tmp_path, name="allowed")["unknown_images"] == [path]
