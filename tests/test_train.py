import json
import os
import signal
import subprocess
import sys
import time
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


def test_train__ctrl_c_says_how_to_go_on(tmp_path):
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    command = [sys.executable, str(TRAIN), "fit", *quiet]
    with subprocess.Popen(
        [*command, "--trainer.max_epochs", "5000"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        last = tmp_path / "runs/digits/small_cnn/checkpoints/last.ckpt"
        for _ in range(600):
            if last.is_file() or process.poll() is not None:
                break
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    hint = printed.rpartition("continue:  python train.py ")[2].split()
    assert hint[:2] == ["fit", "--config"]
    limits = ["--trainer.max_epochs", "-1", "--trainer.max_steps", "1"]
    # one epoch at least was kept, so nothing is left to do
    done = subprocess.run(
        [sys.executable, str(TRAIN), *hint, *quiet, *limits], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs/digits/small_cnn/result.json").read_text())["fit"]["steps"] >= 21
