import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.warm import run_command, start

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


def test_help__of_commands_that_start_others_imports_no_torch():
    # seconds of each answer; in one process, which has asked for all of them
    code = (
        "import sys\nfrom pipelines.main import main\n"
        "for command in ('report', 'stack', 'sweep', 'distill', 'submit', 'status'):\n"
        "    try:\n        main([command, '--help'])\n    except SystemExit as end:\n        assert not end.code\n"
        "main(['status', 'tests/data/earlier/runs'])\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=TRAIN.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout


def test_train__ctrl_c_says_how_to_go_on(tmp_path, monkeypatch):
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    monkeypatch.chdir(tmp_path)
    running = start("fit", *quiet, "--trainer.max_epochs", "5000")
    last = tmp_path / "runs/digits/small_cnn/checkpoints/last.ckpt"
    for _ in range(600):
        if last.is_file() or not running.process.is_alive():
            break
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    done = running.ended(60)
    assert done.returncode == 130
    hint = done.stdout.rpartition("continue:  python train.py ")[2].split()
    assert hint[:2] == ["fit", "--config"]
    limits = ["--trainer.max_epochs", "-1", "--trainer.max_steps", "1"]
    # one epoch at least was kept, so nothing is left to do
    done = run_command(*hint, *quiet, *limits)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs/digits/small_cnn/result.json").read_text())["fit"]["steps"] >= 21
