import pytest
import torch

from engine.process_group import end_process_group
from pipelines.cli import image_cli
from pipelines.main import main


def begin(args=()):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)


@pytest.fixture(autouse=True)
def none_left():
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def test_end__closes_what_lightning_leaves_open():
    begin()
    end_process_group()
    assert not torch.distributed.is_initialized()
    end_process_group()


def test_end__leaves_other_backends_to_lightning(monkeypatch):
    begin()
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "nccl")
    end_process_group()
    assert torch.distributed.is_initialized()


def test_command__ends_without_a_process_group(monkeypatch):
    monkeypatch.setattr(image_cli, "ImageCLI", begin)
    assert main(["fit"]) == 0
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("shared", [True, False])
def test_error__ends_the_group_where_all_processes_have_it(monkeypatch, shared):
    class StoppedError(Exception):
        on_all_processes = shared

    def stop(args):
        begin()
        raise StoppedError

    monkeypatch.setattr(image_cli, "ImageCLI", stop)
    assert main(["fit"]) == 2
    # alone with its error, a process must not wait for what the others have not sent
    assert torch.distributed.is_initialized() is not shared
