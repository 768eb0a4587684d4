import os

import pytest
import torch

from engine.gpu_check import stop_probing_for_gpus


@pytest.mark.parametrize(("available", "left"), [(False, "0"), (True, "1")])
def test_settle__only_where_there_is_none(monkeypatch, available, left):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    stop_probing_for_gpus()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == left
