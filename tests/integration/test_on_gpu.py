"""The script of all that needs a GPU, at a tiny size on the CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.warm import REPOSITORY

SCRIPT = REPOSITORY / "benchmarks/on_gpu.sh"
STEPS = ["tests", "input_pipeline", "framework_tax", "compute", "stack"]


def test_steps__stay_within_nine_minutes():
    lines = [line.split() for line in SCRIPT.read_text().splitlines() if line.startswith("step ")]
    assert [words[1] for words in lines] == STEPS
    assert sum(int(words[2]) for words in lines) <= 540


def class_folders(root):
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 10)):
        for label in ("left", "right"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                image = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                image[:, slice(16) if label == "left" else slice(16, 32)] += 100
                Image.fromarray(image).save(folder / f"{number}.png")


@pytest.mark.skipif("FAULTS_LONG" not in os.environ, reason="takes minutes: make faults")
def test_rehearsal__all_steps_end_well(tmp_path):
    class_folders(tmp_path / "data")
    command = ["bash", str(SCRIPT), str(tmp_path / "results"), "rehearse"]
    environment = os.environ | {
        "PYTHON": sys.executable,
        "DATA_ROOT": str(tmp_path / "data"),
        "RUN_ROOT": str(tmp_path / "runs"),
    }
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = (tmp_path / "results/summary.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == STEPS
    assert all(": ok, " in line for line in lines[1:]), lines
    assert ended.returncode == 0
    assert (tmp_path / "runs/gpu_rehearsal/stack/checkpoints/stack.ckpt").is_file()
