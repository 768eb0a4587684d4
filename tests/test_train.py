import subprocess
import sys
from pathlib import Path

TRAIN = Path(__file__).resolve().parent.parent / "train.py"


def test_train__runs_from_any_folder(tmp_path):
    command = [sys.executable, str(TRAIN), "fit", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/digits/small_cnn/result.json").is_file()


def test_train__a_mistake_ends_with_2(tmp_path):
    command = [sys.executable, str(TRAIN), "fit", "--trainer.max_epoch", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("did you mean --trainer.max_epochs?")
