import os
import sys
from pathlib import Path

import pytest

from records import launched, run_dir
from records.run_dir import RunDir, RunOptions


def test_claim__a_second_run_gets_a_new_folder(tmp_path):
    names = [run_dir.claim(tmp_path / "digits", "mlp")[-1].name for _ in range(3)]
    assert names == ["mlp", "mlp-2", "mlp-3"]


def test_claim__says_why_a_folder_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/digits"):
        with pytest.raises(OSError, match=f"{tmp_path}/file is a file; choose another by --run.root"):
            run_dir.claim(folder, "mlp")
    # what is not a folder takes a name as a folder does
    assert run_dir.claim(tmp_path, "file")[-1].name == "file-2"


def with_checkpoint(folder: Path, age: float):
    run = RunDir(folder)
    run.checkpoints.mkdir(parents=True)
    run.last.write_bytes(b"")
    os.utime(run.last, (1000 - age, 1000 - age))


def test_newest__is_the_last_with_a_checkpoint(tmp_path):
    with_checkpoint(tmp_path / "mlp", age=2)
    with_checkpoint(tmp_path / "mlp-2", age=1)
    with_checkpoint(tmp_path / "mlp_wide", age=0)
    # tested later, but not trained later
    (tmp_path / "mlp/result.json").write_text("{}")
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


def step_of_slurm(monkeypatch, step="0"):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_STEP_ID", step)


def torchrun(monkeypatch, run_id="none"):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", run_id)


@pytest.mark.parametrize("launcher", [step_of_slurm, torchrun])
def test_choose__processes_of_a_job_agree_on_the_name_that_was_asked_for(launcher, tmp_path, monkeypatch):
    launcher(monkeypatch)
    for name in ("mlp", "mlp-2"):
        # also a second fit of the same job, which must not go on with the first
        assert run_dir.choose(tmp_path, "mlp").folder.name == name
        monkeypatch.setenv("RANK", "1")
        assert run_dir.choose(tmp_path, "mlp").folder.name == name
        monkeypatch.delenv("RANK")
        with_checkpoint(tmp_path / name, age=0)


def test_choose__a_requeued_job_finds_its_folder(tmp_path, monkeypatch):
    step_of_slurm(monkeypatch)
    with_checkpoint(tmp_path / "mlp", age=0)
    assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-2"
    step_of_slurm(monkeypatch, "1")
    assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-3"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    # stopped before anything was saved
    assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-3"
    step_of_slurm(monkeypatch, "0")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert run_dir.choose(tmp_path, "mlp").folder.name == "mlp-2"
    # begun by an earlier version
    with_checkpoint(tmp_path / "cnn-77.0", age=0)
    assert run_dir.choose(tmp_path, "cnn").folder.name == "cnn-77.0"


def test_choose__a_folder_that_other_nodes_do_not_see(tmp_path, monkeypatch):
    step_of_slurm(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(run_dir, "PATIENCE", 0.2)
    with pytest.raises(OSError, match=r"no folder in .* --run.root must be on a file system of all nodes"):
        run_dir.choose(tmp_path, "mlp")


def test_choose__a_submitted_job_has_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(launched.JOB_FOLDER, str(tmp_path / "digits/mlp"))
    step_of_slurm(monkeypatch)
    assert run_dir.choose(tmp_path, "another").folder == tmp_path / "digits/mlp"
    assert (tmp_path / "digits/mlp").is_dir()


def test_state__is_the_newest(tmp_path):
    run = RunDir(tmp_path)
    assert not run.resumable
    saved = tmp_path / "hpc_ckpt_1.ckpt"
    saved.write_bytes(b"")
    os.utime(saved, (999, 999))
    assert run.state == saved
    # saved since, before a node failed
    with_checkpoint(tmp_path, age=0)
    assert run.state == run.last
    os.utime(run.last, (998, 998))
    assert run.state == saved


@pytest.mark.parametrize("name", ["a/b", "..", "", " ", "a\\b", "null", "~"])
def test_options__names_are_plain(name):
    with pytest.raises(ValueError, match="--run.name must be a plain folder name"):
        RunOptions(name=name)


def test_of_checkpoint(tmp_path):
    assert run_dir.of_checkpoint(tmp_path / "mlp/checkpoints/best.ckpt").folder == tmp_path / "mlp"
    assert run_dir.of_checkpoint(tmp_path / "best.ckpt") is None


def test_of_checkpoint__from_inside_the_folder(tmp_path, monkeypatch):
    (tmp_path / "mlp/checkpoints").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mlp/checkpoints")
    assert run_dir.of_checkpoint(Path("best.ckpt")).folder == tmp_path / "mlp"


def test_unclaimed__is_what_would_be_claimed(tmp_path):
    for _ in range(2):
        assert run_dir.unclaimed(tmp_path, "mlp") == run_dir.claim(tmp_path, "mlp")[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="a folder in which none can be made")
def test_make_folder__where_none_can_be_made():
    with pytest.raises(OSError, match=r"cannot be made in /proc/runs/digits: .*; choose another by --run.root"):
        run_dir.make_folder(Path("/proc/runs/digits"))
