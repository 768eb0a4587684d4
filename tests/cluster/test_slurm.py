"""Jobs of a real SLURM, of two virtual nodes on this machine: `make test-cluster`."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml

from pipelines.main import main
from tests.helpers.safe import different

pytestmark = pytest.mark.skipif("CLUSTER" not in os.environ, reason="runs by make test-cluster")
SLURM = Path(__file__).with_name("slurm.sh")
CANNOT = 77
# 6 steps an epoch, with dropout, augmentation and a sampler that draws
FIT = (
    "fit", "--data", "tests.helpers.data.Blobs", "--data.count", "110", "--data.augmentation", "[crop, flip]",
    "--data.sampler", "balanced", "--model", "MLP", "--model.hidden", "[16]", "--model.dropout", "0.3",
    "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--trainer.num_sanity_val_steps", "0", "--allow", "tests",
    "--run.experiment", "e", "--cpus", "1", "--run.name",
)  # fmt: skip
EXECUTOR = {
    "class_path": "ParslExecutor",
    "init_args": {"cores_per_cell": 1, "max_blocks": 2, "walltime": "00:10:00"},
}


@pytest.fixture(scope="module", autouse=True)
def slurm():
    done = subprocess.run([str(SLURM), "start"], capture_output=True, text=True, check=False)
    if done.returncode == CANNOT:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", done.stdout.strip().rpartition("SLURM_CONF=")[2])
        # the virtual nodes have no names that others know
        patch.setenv("MASTER_ADDR", "127.0.0.1")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
        subprocess.run(["scancel", "--me"], check=False)
        subprocess.run([str(SLURM), "stop"], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def slow(seconds):
    return ("--trainer.callbacks", "tests.helpers.signals.Slow", "--trainer.callbacks.seconds", str(seconds))


def ask(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


def submit(capsys, *words):
    """Submit a command; return the job's id."""
    capsys.readouterr()
    assert main(["submit", *map(str, words)]) == 0, capsys.readouterr().err
    return re.search(r"submitted job (\d+)", capsys.readouterr().out)[1]


# when a job was first seen to wait; it must not begin again before SLURM has cleared away what it left
WAITS: dict[str, float] = {}
CLEARED = 15


def is_queued(job):
    """Whether SLURM still knows a job that has not ended; one that was queued again need not wait two minutes."""
    done = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T", "-j", job], capture_output=True, text=True, check=False)
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        # a busy controller
        return True
    for line in done.stdout.splitlines():
        number, state = line.split()
        if state != "PENDING":
            WAITS.pop(number, None)
        elif time.monotonic() - WAITS.setdefault(number, time.monotonic()) > CLEARED:
            subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], capture_output=True, check=False)
    return bool(done.stdout.strip())


def until(condition, seconds=240, what=""):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what or condition} took too long\n{logs()}"
        time.sleep(0.5)


def logs():
    found = sorted(Path("runs").rglob("slurm-*.log"), key=lambda path: path.stat().st_mtime)
    return "\n".join(f"== {path}\n{path.read_text()[-1500:]}" for path in found[-2:])


def finish(job, seconds=240):
    until(lambda: not is_queued(job), seconds, f"job {job}")


def restarts(job):
    return int(re.search(r"Restarts=(\d+)", ask("scontrol", "show", "job", job))[1])


def status(capsys, name):
    """The state of a run, and the line that is printed of it."""
    capsys.readouterr()
    assert main(["status", f"runs/e/{name}"]) == 0
    said = capsys.readouterr().out
    return re.search(r": 1 (\w+)", said)[1], " ".join(said.split())


def state(name):
    run = Path("runs/e") / name
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    result = json.loads((run / "result.json").read_text())
    kept = {part: checkpoint[part] for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}
    return {**kept, "val": result["val"], "last": result["fit"]["last"]}


def steps(name):
    """How many rows metrics.csv has."""
    path = Path("runs/e") / name / "metrics.csv"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def test_fit__alone_over_two_nodes_and_as_an_array(here, capsys):
    alone = submit(capsys, *FIT, "whole")
    both = submit(capsys, *FIT, "both", "--nodes", "2", "--data.batch_size", "16")
    array = submit(capsys, *FIT, "many", "--array", "0-1", "--seed_everything", "{task}")
    assert status(capsys, "many-1")[0] in ("queued", "running")
    for job in (alone, both, array):
        finish(job)
    for name in ("whole", "both", "many-0", "many-1"):
        assert status(capsys, name)[0] == "done"
    assert json.loads(Path("runs/e/both/result.json").read_text())["processes"] == 2
    assert different(state("many-0"), state("many-1"))
    # no folder beside those that were asked for
    assert sorted(path.name for path in Path("runs/e").iterdir()) == ["both", "many-0", "many-1", "whole"]


def test_requeue__by_signals_ends_at_the_same_bits(here, capsys):
    job = submit(capsys, *FIT, "signals", *slow(0.7))
    before = 0
    for count in (1, 2):
        # it trains, and has logged something new
        until(lambda before=before: is_queued(job) and steps("signals") > max(before, 1))
        ask("scancel", "--signal=USR1", job)
        until(lambda count=count: restarts(job) == count, what=f"restart {count}")
        before = steps("signals")
    finish(job)
    assert status(capsys, "signals")[0] == "done"
    # what is slow is no part of the run
    assert different(state("whole"), state("signals")) == []
    assert not list(Path("runs/e").rglob("hpc_ckpt_*"))
    assert len(list(Path("runs/e/signals").glob("slurm-*.log"))) == 1


def test_requeue__by_two_time_limits_ends_at_the_same_bits(here, capsys):
    # 18 steps of 7 s; SLURM's clock has minutes, and may announce the end a minute early
    job = submit(capsys, *FIT, "limits", *slow(7), "--time", "00:02:00", "--signal_seconds", "60")
    finish(job, 900)
    assert restarts(job) >= 2
    assert status(capsys, "limits")[0] == "done"
    assert different(state("whole"), state("limits")) == []


def test_cancelled__saves_and_the_same_script_continues_it(here, capsys):
    job = submit(capsys, *FIT, "cancelled", *slow(0.7))
    until(lambda: steps("cancelled") >= 2)
    assert status(capsys, "cancelled")[0] == "running"
    ask("scancel", job)
    finish(job)
    word, said = status(capsys, "cancelled")
    assert word == "stopped"
    assert "SIGTERM" in said
    finish(ask("sbatch", "--parsable", "runs/e/cancelled/job.sh"))
    assert status(capsys, "cancelled")[0] == "done"
    assert different(state("whole"), state("cancelled")) == []


def test_node__taken_down_during_a_run_of_both(here, capsys):
    options = ("--nodes", "2", "--data.batch_size", "16", "--last_checkpoint.every_n_train_steps", "2")
    job = submit(capsys, *FIT, "down", *options, *slow(0.7))
    until(lambda: steps("down") >= 2)
    ask("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    until(lambda: restarts(job) == 1, what="restart")
    # it may have come back by itself
    subprocess.run(["scontrol", "update", "NodeName=n2", "State=RESUME"], capture_output=True, check=False)
    finish(job)
    assert status(capsys, "down")[0] == "done"
    # the gradients of two processes are added up in the same order, whoever was there before
    assert different(state("both"), state("down")) == []


def test_rank__that_is_killed_ends_the_job(here, capsys):
    job = submit(capsys, *FIT, "rank", "--nodes", "2", "--data.batch_size", "16", "--requeue", "false", *slow(0.7))
    until(lambda: steps("rank") >= 2)
    os.kill(process_of(job, rank=1), signal.SIGKILL)
    finish(job, 90)
    assert status(capsys, "rank")[0] in ("failed", "stopped")
    (log,) = Path("runs/e/rank").glob("slurm-*.log")
    assert "Killed" in log.read_text()


def process_of(job, rank):
    """The number of the process of a job that trains as a certain rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        wanted = {f"SLURM_JOB_ID={job}".encode(), f"SLURM_PROCID={rank}".encode()}
        if wanted <= set(variables) and b"train.py\0fit" in command and b"srun" not in command:
            return int(folder.name)
    raise AssertionError(f"job {job} has no process {rank}")


def test_failure__is_told_with_its_reason(here, capsys):
    finish(submit(capsys, *FIT, "broken", "--model.weights", "nowhere.ckpt"))
    word, said = status(capsys, "broken")
    assert word == "failed"
    assert "nowhere.ckpt" in said


def plan(path, **content):
    options = {"data": "Digits", "data.stack_fraction": 0.2, "trainer.accelerator": "cpu", "trainer.max_epochs": 3}
    path.write_text(yaml.safe_dump({"options": options, "page": False, **content}))
    return path


MEMBERS = [
    {"name": "a", "options": {"model": "Linear"}},
    {"name": "b", "options": {"model": "MLP", "model.hidden": [8]}},
]


def test_stack__over_two_nodes(here, capsys):
    pytest.importorskip("parsl")
    path = plan(here / "stack.yaml", experiment="s", heads=["MeanHead"], members=MEMBERS, executor=EXECUTOR)
    job = submit(capsys, "stack", "--config", path, "--cpus", "1", "--time", "00:20:00")
    finish(job, 500)
    assert "test" in json.loads((here / "runs/s/stack/result.json").read_text()), logs()
    hosts = {json.loads(path.read_text())["status"] for path in (here / "runs/s/cells").glob("*.json")}
    assert hosts == {"done"}


def test_sweep__over_two_nodes(here, capsys):
    pytest.importorskip("parsl")
    path = plan(
        here / "sweep.yaml", experiment="w", axes={"model.hidden": [[8], [16]]}, seeds=[0, 1], executor=EXECUTOR
    )
    job = submit(capsys, "sweep", "--config", path, "--options.model", "MLP", "--cpus", "1", "--time", "00:20:00")
    finish(job, 500)
    assert len(list((here / "runs/w").glob("*/result.json"))) == 4, logs()


def test_stack__stops_its_cells_at_the_signal_and_continues(here, capsys):
    options = {
        "data": "Digits", "data.stack_fraction": 0.2, "trainer.accelerator": "cpu", "trainer.max_epochs": 12,
        "trainer.callbacks": "tests.helpers.signals.Slow",
    }  # fmt: skip
    path = plan(here / "local.yaml", experiment="l", heads=["MeanHead"], members=MEMBERS, options=options)
    job = submit(capsys, "stack", "--config", path, "--cpus", "2", "--allow", "tests")
    until(lambda: list((here / "runs/l").glob("*/checkpoints/last.ckpt")))
    ask("scancel", "--signal=USR1", "--batch", job)
    until(lambda: restarts(job) == 1, what="restart")
    finish(job, 400)
    (log,) = (here / "runs/l/logs").glob("slurm-*.log")
    assert "is queued again" in log.read_text()
    assert "test" in json.loads((here / "runs/l/stack/result.json").read_text()), logs()
    assert main(["status", "runs/l"]) == 0
    assert "3 runs: 3 done" in capsys.readouterr().out
