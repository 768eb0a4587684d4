import os
import signal

import pytest
from lightning.pytorch.callbacks import Callback

from callbacks import LastCheckpoint, StoppedError, last_checkpoint
from callbacks.signals import Signals
from common.slurm import ANNOUNCED
from lightning_modules import MLP
from tests.helpers.cli import run
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


class Noted(LastCheckpoint):
    """Note after how many steps it saved."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.saved = []

    def _save_checkpoint(self, trainer, filepath):
        super()._save_checkpoint(trainer, filepath)
        self.saved.append(trainer.global_step)


class Send(Callback):
    """Send this process a signal within a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def fit(folder, saver, *callbacks, **options):
    """Fit two epochs of 4 batches."""
    saver.dirpath = str(folder)
    data = Blobs(count=70, batch_size=16)
    fitting = trainer(folder, callbacks=[saver, *callbacks], **options)
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    return fitting


@pytest.mark.parametrize(
    ("options", "trained", "saved"),
    [
        ({}, {}, [4, 8]),
        ({"every_minutes": None}, {}, [4, 8]),
        ({"every_minutes": 1e-9}, {}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"every_n_train_steps": 3}, {}, [3, 4, 6, 8]),
        # a validation comes first
        ({"every_n_train_steps": 1}, {"val_check_interval": 2}, [1, 3, 4, 5, 7, 8]),
        ({"every_n_train_steps": 1}, {"check_val_every_n_epoch": 2}, [1, 2, 3, 4, 5, 6, 7, 8]),
        # two batches a step
        ({"every_n_train_steps": 1}, {"accumulate_grad_batches": 2}, [1, 2, 3, 4]),
        ({}, {"fast_dev_run": True}, []),
    ],
)
def test_save__when(options, trained, saved, tmp_path):
    saver = Noted(**options)
    fit(tmp_path, saver, **trained)
    assert saver.saved == saved
    assert [path.name for path in tmp_path.glob("*.ckpt")] == (["last.ckpt"] if saved else [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal__stops_after_the_step_with_its_state(number, tmp_path):
    saver = Noted()
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(StoppedError) as stopped:
        fit(tmp_path, saver, Send(number, 5))
    assert stopped.value.exit_status == 128 + number
    assert saver.saved == [4, 6]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_signal__in_the_last_step_of_all_is_too_late(tmp_path):
    saver = Noted()
    assert fit(tmp_path, saver, Send(signal.SIGINT, 7)).global_step == 8
    assert saver.saved == [4, 8]


def test_signal__a_second_ctrl_c_stops_at_once(capfd):
    signals = Signals()
    signals._ask_to_stop(signal.SIGTERM, None)
    signals._ask_to_stop(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        signals._ask_to_stop(signal.SIGINT, None)
    assert signals.stop == signal.SIGTERM
    signals = Signals()
    signals._ask_to_stop(signal.SIGINT, None)
    assert "Ctrl-C again stops at once, without saving" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        signals._ask_to_stop(signal.SIGINT, None)


@pytest.fixture
def slurm(monkeypatch):
    """The jobs that SLURM was asked to queue again, and its answers."""
    for name, value in (("JOB_ID", "7"), ("NTASKS", "1"), ("JOB_NAME", "train"), ("NODELIST", "here")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    asked, answers = [], [""]
    monkeypatch.setattr(last_checkpoint, "requeue", lambda job: asked.append(job) or answers[-1])
    kept = signal.getsignal(signal.SIGTERM)
    yield asked, answers
    signal.signal(signal.SIGTERM, kept)


# within an epoch, and in its last step
@pytest.mark.parametrize(("step", "saved"), [(1, [2]), (3, [4])])
def test_requeue__saves_between_two_steps_and_stops(step, saved, slurm, tmp_path):
    saver = Noted()
    with pytest.raises(StoppedError) as stopped:
        fit(tmp_path, saver, Send(signal.SIGUSR1, step))
    assert stopped.value.number == signal.SIGUSR1
    assert saver.saved == saved
    assert slurm[0] == ["7"]
    # SLURM ends the job right then, and what is left to do takes a moment
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_requeue__announced_before_training(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(ANNOUNCED, "number", int(signal.SIGUSR1))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    saver = Noted()
    with pytest.raises(StoppedError):
        fit(tmp_path, saver)
    # nothing was trained yet
    assert (saver.saved, slurm[0]) == ([], ["5_2"])


def test_requeue__refused_by_slurm_goes_on(slurm, tmp_path):
    slurm[1].append("Job is not requeueable")
    saver = Noted()
    with pytest.warns(UserWarning, match=r"does not queue job 7 again \(Job is not requeueable\): training goes on"):
        assert fit(tmp_path, saver, Send(signal.SIGUSR1, 1)).global_step == 8
    assert saver.saved == [2, 4, 8]


@pytest.mark.parametrize("option", ["every_minutes", "every_n_train_steps"])
def test_options__must_be_above_0(option, tmp_path, capsys):
    assert run("fit", f"--last_checkpoint.{option}", "0", root=tmp_path) == 2
    assert f"--last_checkpoint.{option} must be above 0, or null, not 0" in capsys.readouterr().err
