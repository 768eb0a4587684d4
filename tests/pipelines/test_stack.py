import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from rich.console import Console

from pipelines import stack
from pipelines.main import main
from pipelines.stack import Cell, CellError, StackPlan, command

QUICK = {"trainer.enable_progress_bar": False, "trainer.max_epochs": 2, "trainer.accelerator": "cpu"}


def plan(root, **changes):
    options = {"model.hidden": [8], "model.dropout": 0.0}
    return StackPlan(
        **{
            "members": [Cell("one", ["configs/model/mlp.yaml"], options), Cell("two", ["configs/model/linear.yaml"])],
            "stack": Cell("top"),
            "root": str(root),
            "options": {"data.stack_fraction": 0.2, **QUICK},
            **changes,
        }
    )


def test_command__is_an_ordinary_fit(tmp_path):
    args = command(plan(tmp_path), Cell("one", ["a.yaml"], {"model.hidden": [8], "data": "Digits"}), tmp_path / "x")
    assert args[:3] == ["fit", "--config", "a.yaml"]
    assert "--model.hidden=[8]" in args
    assert "--data=Digits" in args
    assert "--data.stack_fraction=0.2" in args
    assert args[-6:] == ["--run.root", str(tmp_path), "--run.experiment", "x", "--run.name", "one"]


def test_run_plan__members_then_stack_then_test(tmp_path):
    run = stack.run_plan(plan(tmp_path, jobs=2), Console(quiet=True))
    result = json.loads(run.result.read_text())
    assert [member["name"] for member in result["members"]] == ["one", "two", "mean of members"]
    assert result["test"]["accuracy"] > 0.3
    assert result["leakage"] == {"allowed": [], "warnings": []}
    assert (tmp_path / "stack/one/checkpoints/best.ckpt").is_file()
    assert (tmp_path / "stack/logs/one.log").is_file()


def test_run_plan__a_failed_member_is_named_with_the_end_of_its_log(tmp_path):
    members = [Cell("good", ["configs/model/linear.yaml"]), Cell("bad", [], {"model.nonsense": 1})]
    with pytest.raises(CellError, match=r"bad failed; the end of .*bad.log:\n(.|\n)*unknown option --model.nonsense"):
        stack.run_plan(plan(tmp_path, members=members), Console(quiet=True))
    # the others go on
    assert (tmp_path / "stack/good/result.json").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": []}, "at least one"),
        ({"stack": Cell("one")}, "two cells are named 'one'"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"stack": Cell("a/b")}, "plain folder name"),
    ],
)
def test_plan__conflicts_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        plan(tmp_path, **changes)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--jobbs", "3"], "unknown option '--jobbs'; did you mean --jobs?"),
        (["--config", "no.yaml"], "does not exist"),
        ([], "members"),
    ],
)
def test_main__what_is_wrong_is_named(args, expected, capsys):
    assert main(["stack", *args]) == 2
    assert expected in capsys.readouterr().err


def test_run_process__is_no_part_of_the_launchers_job(tmp_path, monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(stack, "TRAIN", tmp_path / "show.py")
    (tmp_path / "show.py").write_text("import os; print(sorted(os.environ))")
    stack.run_process([], tmp_path / "log.txt", threads=1)
    printed = (tmp_path / "log.txt").read_text()
    assert "OMP_NUM_THREADS" in printed
    assert not any(f"'{name}" in printed for name in ("SLURM_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_"))


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_main__a_signal_ends_the_members_too(tmp_path, name, status):
    shared = {"data.stack_fraction": 0.2, "trainer.enable_progress_bar": False, "trainer.accelerator": "cpu"}
    fragment = tmp_path / "plan.yaml"
    member = {"name": "one", "options": {"model": "Linear", "trainer.max_epochs": 100_000}}
    fragment.write_text(json.dumps({"members": [member], "stack": {"name": "top"}, "options": shared}))
    command = [sys.executable, str(stack.TRAIN), "stack", "--config", str(fragment), "--root", str(tmp_path)]
    last = tmp_path / "stack/one/checkpoints/last.ckpt"
    # its own group: Ctrl-C goes to all of one
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # a shell starts what runs in its background with Ctrl-C ignored, and the tests may run there
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 200
        while not last.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        if name == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        _, errors = process.communicate(timeout=100)
        assert process.returncode == status
        assert b"Traceback" not in errors
        assert "stopping after this batch" in (tmp_path / "stack/logs/one.log").read_text()
        assert torch.load(last, weights_only=True)["epoch"] < 99_999
        # nobody is left in the group
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
