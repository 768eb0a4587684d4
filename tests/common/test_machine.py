import os

import pytest
import torch

from common.machine import core_count, visible_gpus


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    """Eight cores, two GPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("given", "cores"), [(None, 8), ("3", 3), ("32", 8), ("0", 8), ("", 8), ("2(x2)", 8)])
def test_core_count__is_no_more_than_slurm_has_given(given, cores, monkeypatch):
    if given is not None:
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", given)
    assert core_count() == cores


def test_visible_gpus__are_named_as_they_were_given(monkeypatch):
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert visible_gpus() == ["3", "5"]


def test_visible_gpus__none_where_they_are_hidden(monkeypatch):
    # torch counts none then either
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
