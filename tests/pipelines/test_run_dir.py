import os
from pathlib import Path

import pytest

from pipelines import run_dir
from pipelines.run_dir import RunDir, RunOptions


def test_claim__a_second_run_gets_a_new_folder(tmp_path):
    names = [run_dir.claim(tmp_path / "digits", "mlp").name for _ in range(3)]
    assert names == ["mlp", "mlp-2", "mlp-3"]


def with_checkpoint(folder: Path, age: float):
    run = RunDir(folder)
    run.checkpoints.mkdir(parents=True)
    run.best.write_bytes(b"")
    os.utime(folder, (1000 - age, 1000 - age))


def test_newest__is_the_last_with_a_checkpoint(tmp_path):
    with_checkpoint(tmp_path / "mlp", age=2)
    with_checkpoint(tmp_path / "mlp-2", age=1)
    with_checkpoint(tmp_path / "mlp_wide", age=0)
    (tmp_path / "mlp-3").mkdir()
    assert run_dir.newest(tmp_path, "mlp").folder.name == "mlp-2"
    assert run_dir.newest(tmp_path, "cnn") is None
    assert run_dir.newest(tmp_path / "none", "mlp") is None


def test_choose__launched_processes_share_the_first_ones_folder(tmp_path, monkeypatch):
    first = run_dir.choose(tmp_path, "mlp")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_dir.choose(tmp_path, "mlp") == first
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-2"


def test_choose__a_requeued_job_finds_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-77.0"
    assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-77.0"
    monkeypatch.setenv("SLURM_STEP_ID", "1")
    assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-77.1"


def test_choose__torchrun(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert run_dir.choose(tmp_path, "mlp").folder.name == f"mlp-p{os.getppid()}"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "abc")
    assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-abc"


@pytest.mark.parametrize("name", ["a/b", "..", "", " ", "a\\b"])
def test_options__names_are_plain(name):
    with pytest.raises(ValueError, match="--run.name must be a plain folder name"):
        RunOptions(name=name)


def test_of_checkpoint(tmp_path):
    assert run_dir.of_checkpoint(tmp_path / "mlp/checkpoints/best.ckpt").folder == tmp_path / "mlp"
    assert run_dir.of_checkpoint(tmp_path / "best.ckpt") is None
