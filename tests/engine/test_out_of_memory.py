import pytest
import torch

import lightning_modules
from engine.out_of_memory import is_out_of_memory
from pipelines.cli.errors import explain
from pipelines.main import main
from tests.helpers.cli import run

HOST = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
ERRORS = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError(HOST), MemoryError()]
MLP = ("--model", "MLP", "--model.hidden", "[8]", "--trainer.max_epochs", "1")


def fail_with(error, monkeypatch):
    def fail(self, batch, batch_idx):
        raise error

    monkeypatch.setattr(lightning_modules.MLP, "training_step", fail)
    monkeypatch.setattr(lightning_modules.MLP, "test_step", fail)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_fit__names_the_batch_size_and_the_way_out(error, tmp_path, monkeypatch, capsys):
    fail_with(error, monkeypatch)
    args = ("--data.batch_size", "90", "--trainer.accumulate_grad_batches", "2")
    assert run("fit", *MLP, *args, root=tmp_path) == 2
    message = capsys.readouterr().err
    assert "error: out of memory on cpu with --data.batch_size 90: use --data.batch_size 45" in message
    assert "--trainer.accumulate_grad_batches 4 (which keeps the effective size)" in message
    assert "--trainer.precision bf16-mixed" in message
    assert "--model.input_size (now 16)" in message
    assert "Traceback" not in message


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_tune__names_the_batch_size_and_the_way_out(error, tmp_path, monkeypatch, capsys):
    fail_with(error, monkeypatch)
    assert main(["tune", "--model", "MLP", "--data.batch_size", "90", "--run.root", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "with --data.batch_size 90: use --data.batch_size 45" in message
    assert "Traceback" not in message


def test_test__gathers_no_gradients(tmp_path, monkeypatch, capsys):
    run("fit", *MLP, root=tmp_path)
    fail_with(ERRORS[0], monkeypatch)
    checkpoint = tmp_path / "digits/mlp/checkpoints/best.ckpt"
    assert run("test", "--ckpt_path", checkpoint, "--trainer.precision", "bf16-mixed") == 2
    message = capsys.readouterr().err
    assert "use --data.batch_size 32, or a smaller --model.input_size" in message


def test_fit__a_batch_of_one_cannot_be_smaller(tmp_path, monkeypatch, capsys):
    fail_with(ERRORS[0], monkeypatch)
    monkeypatch.setattr(lightning_modules.Linear, "training_step", lightning_modules.MLP.training_step)
    assert run("fit", "--model", "Linear", "--data.batch_size", "1", root=tmp_path) == 2
    assert "--data.batch_size 1: use --trainer.precision bf16-mixed" in capsys.readouterr().err


def test_is_out_of_memory__other_errors_are_not():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_explain__while_the_data_are_read():
    assert "--data.image_size" in explain(MemoryError("Unable to allocate 90. GiB"))
