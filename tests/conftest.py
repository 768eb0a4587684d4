import os

import pytest
import torch

from common import class_paths
from records import run_dir
from tests.helpers.data import write_image_folder

# two cores: more threads than that only wait for each other, and processes beside each other share them
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """A run in this process must not hand its folder to the next."""
    for name in (run_dir.ENVIRONMENT_VARIABLE, "LOCAL_RANK", "SLURM_JOB_ID", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def trust_nobody():
    """What one test trusts is nothing to the next."""
    class_paths.take_options([])


@pytest.fixture
def image_folder(tmp_path):
    """Class folders with train and test, 3 classes of small distinguishable images."""
    return write_image_folder(tmp_path / "images")
