import os

import pytest

from pipelines.cli.held_run import hold, new_run
from records.locks import BusyError
from records.run_dir import RunDir


@pytest.mark.parametrize("file", ["checkpoints/last.ckpt", "result.json", "notes.txt", "metrics.csv"])
def test_new_run__one_that_was_refused_leaves_what_anything_was_written_to(tmp_path, file):
    (tmp_path / "runs").mkdir()

    def refuse(*files):
        with new_run(tmp_path / "runs/digits", "mlp", "trained") as run:
            run.metrics.touch()
            for name in ("config.yaml", "hparams.yaml", "events.out.tfevents.1.host", "figures/batch.png", *files):
                (run.folder / name).parent.mkdir(exist_ok=True)
                (run.folder / name).write_text("x")
            raise KeyboardInterrupt

    def refused(*files):
        with pytest.raises(KeyboardInterrupt):
            refuse(*files)
        return tmp_path / "runs/digits/mlp"

    refused()
    # only what was there before is left
    assert [*tmp_path.rglob("*")] == [tmp_path / "runs"]
    (tmp_path / "runs/digits").mkdir()
    refused()
    assert [*(tmp_path / "runs").rglob("*")] == [tmp_path / "runs/digits"]
    assert (refused(file) / file).is_file()


def test_new_run__what_was_not_used_goes_also_without_an_error(tmp_path):
    with new_run(tmp_path / "digits", "tune"):
        pass
    assert not list(tmp_path.iterdir())
    with new_run(tmp_path / "digits", "tune") as run:
        (run.folder / "figures").mkdir()
        (run.folder / "figures/lr_curve.png").touch()
    assert (run.folder / "figures/lr_curve.png").is_file()


def test_new_run__a_requeued_job_that_is_refused_keeps_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "abc")
    (tmp_path / "mlp-abc").mkdir()
    (tmp_path / "mlp-abc/config.yaml").touch()
    with pytest.raises(ValueError, match="refused"), new_run(tmp_path, "mlp", "trained"):
        raise ValueError("refused")
    assert (tmp_path / "mlp-abc/config.yaml").is_file()


def test_hold__only_the_first_of_processes_that_train_together(tmp_path, monkeypatch):
    run, told = RunDir(tmp_path), f"run {tmp_path} is being trained by process {os.getpid()} on host"
    with hold(run, "trained"):
        for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID", "NODE_RANK"):
            with monkeypatch.context() as patched:
                patched.setenv(name, "1")
                with hold(run, "trained"):
                    pass
        with pytest.raises(BusyError, match=told), hold(run, "evaluated"):
            pass
