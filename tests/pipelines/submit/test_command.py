import json
import subprocess
from pathlib import Path

import pytest
import yaml

from pipelines.main import main
from records.job_file import JobFile
from tests.helpers.slurm import stand_in

MLP = ("--model", "MLP", "--trainer.accelerator", "cpu")
PLAN = {
    "experiment": "s",
    "heads": ["MeanHead"],
    "options": {"data": "Digits", "data.stack_fraction": 0.3},
    "members": [{"name": "a", "options": {"model": "Linear"}}, {"name": "b", "options": {"model": "MLP"}}],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a space and a letter that is not ASCII, as working folder."""
    folder = tmp_path / "été 1"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def printed(capsys, *words):
    assert main(["submit", *words, "--dry_run"]) == 0
    return capsys.readouterr().out


def refusal(capsys, *words):
    assert main(["submit", *words, "--dry_run"]) == 2
    return capsys.readouterr().err


def asked(script):
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_fit__asks_for_all_that_was_said_and_leaves_nothing(here, capsys):
    script = printed(
        capsys,
        "--nodes",
        "2",
        "--gpus",
        "4",
        "fit",
        "--model",
        "MLP",
        "--partition",
        "a",
        "--memory=64G",
        "--time",
        "1-0",
    )
    for option in (
        "--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--mem=64G", "--time=1-0", "--partition=a",
        "--signal=SIGUSR1@90", "--requeue", f'--output="{here}/runs/digits/mlp/slurm-%j.log"', f'--chdir="{here}"',
    ):  # fmt: skip
        assert option in asked(script)
    command = script.splitlines()[-1]
    assert command.startswith("exec srun --kill-on-bad-exit=1 ")
    assert command.endswith("fit --model MLP --trainer.num_nodes 2 --trainer.accelerator gpu --trainer.devices 4")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert list(here.iterdir()) == []


def test_allow__is_handed_on(here, capsys):
    script = printed(capsys, "fit", "--model", "MLP", "--allow", "tests")
    assert script.splitlines()[-1].endswith("fit --model MLP --allow tests")


def test_fit__one_that_does_not_requeue(here, capsys):
    options = asked(printed(capsys, "fit", *MLP, "--requeue", "false", "--sbatch", "[--constraint=a100]"))
    assert "--no-requeue" in options
    assert "--constraint=a100" in options
    assert not any("signal" in option for option in options)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("fit", "--model.hiden", "3", "--model", "MLP"), ["--model.hiden", "did you mean hidden"]),
        (("fit", "--nodes", "2", "--trainer.num_nodes", "3"), ["--nodes 2", "--trainer.num_nodes 3"]),
        (("fit", "--nodes", "2", "--trainer.num_nodes", "1"), ["--nodes 2", "--trainer.num_nodes 1"]),
        (("fit", "--gpus", "2", "--trainer.devices", "4"), ["--gpus 2", "--trainer.devices 4"]),
        (("fit", "--gpus", "2", "--trainer.accelerator", "cpu"), ["--gpus 2", "--trainer.accelerator cpu"]),
        (("fit", "--trainer.accelerator", "gpu"), ["--gpus 0", "--trainer.accelerator gpu"]),
        (("fit", "--processes", "2", "--data.batch_size", "33"), ["--data.batch_size 33", "--data.batch_size 32"]),
        (("fit", "--array", "0-3"), ["--array 0-3", "{task}"]),
        (("fit", "--seed_everything", "{task}"), ["{task}", "--array"]),
        (("fit", "--array", "0-3", "--data.batch_size", "{task}"), ["data.batch_size", "0"]),
        (("fit", "--array", "0-3", "--run.name=x{task}"), ["--run.name", "{task}"]),
        (("--config", "nowhere.yaml", "fit"), ["nowhere.yaml is no file"]),
        (("--config", "plan.yaml", "stack"), ["plan.yaml holds no option of submit", "after the command"]),
        (("--nods", "2", "fit"), ["--nods", "--nodes"]),
        (("fitt",), ["fitt", "did you mean fit"]),
        ((), ["no command"]),
        (("stack", "--config", "plan.yaml", "--nodes", "2"), ["--nodes 2", "stack", "configs/cluster/slurm.yaml"]),
        (("stack", "--config", "plan.yaml", "--processes", "2"), ["--processes 2", "stack"]),
        (("stack", "--config", "plan.yaml", "--hedas", "[]"), ["--hedas", "--heads"]),
        (("stack", "--config", "plan.yaml", "--options.model.hiden", "3"), ["hiden"]),
        (("sweep", "--axs", "3"), ["--axs", "--axes"]),
        (("distill", "--stak", "3"), ["--stak", "--stack"]),
        (("fit", "--config", "mixed.yaml"), ["mixed.yaml", "gpus", "trainer"]),
        (("fit", "--config", "typo.yaml"), ["typo.yaml", "nodse", "nodes"]),
    ],
)
def test_refusals__come_before_anything_is_submitted(words, named, here, capsys):
    (here / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    (here / "mixed.yaml").write_text("gpus: 2\ntrainer: {max_epochs: 2}\n")
    (here / "typo.yaml").write_text("gpus: 2\nnodse: 2\n")
    said = refusal(capsys, *words)
    assert all(name in said for name in named), said


def test_config__of_the_cluster_stands_anywhere(here, capsys):
    (here / "cluster.yaml").write_text("gpus: 2\ntime: 01:00:00\n")
    for words in (
        ("--config", "cluster.yaml", "fit", "--model", "MLP"),
        ("fit", "--config=cluster.yaml", "--model", "MLP"),
        ("fit", "--model", "MLP", "--config", "cluster.yaml", "--gpus", "2"),
    ):
        assert {"--gpus-per-node=2", "--time=01:00:00"} <= set(asked(printed(capsys, *words)))


def test_cells__get_the_signal_themselves(here, capsys):
    (here / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    (here / "runs/s").mkdir(parents=True)
    script = printed(capsys, "stack", "--config", "plan.yaml", "--fresh", "true", "--cpus", "6")
    options = asked(script)
    assert f'--output="{here}/runs/s-2/logs/slurm-%j.log"' in options
    assert {"--signal=B:SIGUSR1@90", "--cpus-per-task=6", "--job-name=s-2"} <= set(options)
    assert script.splitlines()[-1].endswith("stack --config plan.yaml --fresh true --fresh false --experiment s-2")


def test_array__a_folder_for_each_task(here, capsys, monkeypatch):
    out = stand_in(here, monkeypatch, sbatch='cat "$2" >> "$OUT"; echo "12;cluster"')
    assert main(["submit", "fit", *MLP, "--array", "8-11", "--seed_everything", "{task}"]) == 0
    assert "submitted job 12: runs/digits/mlp-*/ (4 runs)" in capsys.readouterr().out
    folders = sorted(path.name for path in (here / "runs/digits").iterdir())
    assert folders == ["mlp-08", "mlp-09", "mlp-10", "mlp-11"]
    assert JobFile.read(here / "runs/digits/mlp-09").job == "12_9"
    assert JobFile.read(here / "runs/digits/mlp-09").log == "slurm-12_9.log"
    script = out.read_text()
    assert f'--output="{here}/runs/digits/mlp-%2a/slurm-%A_%a.log"' in asked(script)
    # as the shell of a task sees it
    lines = script.replace("exec srun", 'echo "$FRANCESINHA_JOB_FOLDER"; echo srun')
    environment = {"SLURM_ARRAY_TASK_ID": "9", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash"], input=lines, env=environment, text=True, capture_output=True, check=True)
    folder, command = done.stdout.splitlines()
    assert folder == str(here / "runs/digits/mlp-09")
    assert command.endswith("--seed_everything 9")
    assert main(["submit", "fit", *MLP, "--array", "11-12", "--seed_everything", "{task}"]) == 2
    assert "runs/digits/mlp-11/ is there already" in capsys.readouterr().err


def test_submit__writes_script_and_record(here, capsys, monkeypatch):
    out = stand_in(here, monkeypatch, sbatch='echo "$@" $SLURM_JOB_ID $SLURM_CONF > "$OUT"; echo 7')
    # of the job that this process may belong to, and of SLURM itself
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    monkeypatch.setenv("SLURM_CONF", "/of/slurm")
    assert main(["submit", "fit", *MLP]) == 0
    folder = here / "runs/digits/mlp"
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "job.sh"]
    assert out.read_text() == f"--parsable {Path('runs/digits/mlp/job.sh')} /of/slurm\n"
    found = JobFile.read(folder)
    assert (found.job, found.log, found.command[:4]) == ("7", "slurm-7.log", ["python", "train.py", "fit", "--model"])
    assert json.loads((folder / "job.json").read_text())["submitted"].endswith("+00:00")
    said = capsys.readouterr().out
    assert "scancel 7" in said
    assert "python train.py status runs/digits" in said


def test_submit__a_second_run_has_a_folder_of_its_own_and_a_second_stack_waits(here, capsys, monkeypatch):
    stand_in(here.parent, monkeypatch, sbatch="echo 7", squeue="echo '7|PENDING|None'")
    (here / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    for _ in range(2):
        assert main(["submit", "fit", *MLP]) == 0
    assert sorted(path.name for path in (here / "runs/digits").iterdir()) == ["mlp", "mlp-2"]
    assert str(here / "runs/digits/mlp-2") in (here / "runs/digits/mlp-2/job.sh").read_text()
    assert main(["submit", "stack", "--config", "plan.yaml"]) == 0
    assert main(["submit", "stack", "--config", "plan.yaml"]) == 2
    assert "runs/s/ has job 7 in the queue (pending): wait for it, or scancel 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "reason"), [("echo 'no such partition' >&2; exit 1", "no such partition"), (None, "there is no sbatch")]
)
def test_submit__refused_by_slurm_leaves_no_folder(program, reason, here, capsys, monkeypatch):
    (here.parent / "empty").mkdir()
    monkeypatch.setenv("PATH", str(here.parent / "empty"))
    if program:
        stand_in(here.parent, monkeypatch, sbatch=program)
    assert main(["submit", "fit", *MLP]) == 2
    assert reason in capsys.readouterr().err
    assert list(here.iterdir()) == []
