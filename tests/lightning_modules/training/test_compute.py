import pytest
import torch
from torch._dynamo.utils import counters

from lightning_modules import MLP, SmallCNN
from lightning_modules.checkpoints import load_classifier, read_checkpoint
from tests.helpers.cli import run
from tests.helpers.data import Blobs
from tests.helpers.training import fit, trainer


def trained(folder, model_class=SmallCNN, epochs=2, **options):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    # 54 samples in batches of 16: the last one is shorter
    data = Blobs(count=60, channels=3)
    model = model_class(data_info=data.info, **options)
    path = fit(model, data, folder, max_epochs=epochs)
    return model, path, data


def logits(path, data):
    test = data.splits["test"]
    with torch.no_grad():
        return load_classifier(path)(test.source.gather(test.rows))


def test_memory_format__same_training(tmp_path):
    _, plain, data = trained(tmp_path / "a")
    model, last, _ = trained(tmp_path / "b", memory_format="channels_last")
    convolution = model.backbone[0]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    seen = []
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(logits(plain, data), logits(last, data), atol=1e-3)
    # checkpoints do not depend on it
    assert read_checkpoint(plain)["architecture"] == read_checkpoint(last)["architecture"]
    assert load_classifier(last).backbone[0].weight.is_contiguous()


def test_torch_compile__same_training_and_same_checkpoint(tmp_path):
    options = {"model_class": MLP, "hidden": [8], "dropout": 0.0, "epochs": 3}
    _, eager, data = trained(tmp_path / "a", **options)
    counters.clear()
    model, compiled, _ = trained(tmp_path / "b", torch_compile=True, **options)
    made = counters["stats"]["unique_graphs"]
    assert made > 0
    assert list(read_checkpoint(eager)["state_dict"]) == list(read_checkpoint(compiled)["state_dict"])
    assert torch.allclose(logits(eager, data), logits(compiled, data), atol=1e-3)
    # rebuilt from its checkpoint it is not compiled
    assert load_classifier(compiled).backbone._compiled_call_impl is None
    # all sizes have been seen: more epochs compile nothing anew
    trainer(tmp_path, max_epochs=2, enable_checkpointing=False).fit(model, datamodule=data)
    assert counters["stats"]["unique_graphs"] == made


def test_torch_compile__without_a_compiler(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert run("fit", "--model.torch_compile", "true", root=tmp_path) == 2
    error = capsys.readouterr().err
    assert "--model.torch_compile true needs a C++ compiler" in error
    assert "no-such-compiler" in error


@pytest.mark.parametrize("option", [("memory_format", "channels_last"), ("torch_compile", "true")])
def test_stack__refuses_what_would_do_nothing(option, tmp_path, capsys):
    name, value = option
    args = ("--model", "StackingModule", "--model.bases", "[a.ckpt]", f"--model.{name}", value)
    assert run("fit", *args, root=tmp_path) == 2
    error = capsys.readouterr().err
    assert f"--model.{name}" in error
    assert len(error.splitlines()) == 1
