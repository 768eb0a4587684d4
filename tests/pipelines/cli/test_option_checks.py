import lightning.pytorch as pl
import pytest
from jsonargparse import Namespace

from common.ranges import OptionError
from pipelines.cli import option_checks
from pipelines.cli.option_checks import as_options, check_seed, check_trainer, naming_options
from tests.helpers.cli import run

DEFAULTS = {
    "accelerator": "auto",
    "devices": "auto",
    "strategy": "auto",
    "num_nodes": 1,
    "precision": "32-true",
    "fast_dev_run": False,
    "max_epochs": 30,
    "min_epochs": None,
    "max_steps": -1,
    "min_steps": None,
    "max_time": None,
    "limit_train_batches": None,
    "limit_val_batches": None,
    "limit_test_batches": None,
    "limit_predict_batches": None,
    "overfit_batches": 0.0,
    "val_check_interval": None,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": None,
    "log_every_n_steps": 50,
    "accumulate_grad_batches": 1,
    "gradient_clip_val": None,
    "gradient_clip_algorithm": None,
    "profiler": None,
    "reload_dataloaders_every_n_epochs": 0,
    "barebones": False,
    "sync_batchnorm": False,
}


def check(command="fit", here=True, **options):
    check_trainer(Namespace(**DEFAULTS | options), command, here)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_epochs": -1, "max_steps": 10},
        {"max_epochs": None},
        {"limit_val_batches": 0, "limit_train_batches": 0.5, "limit_test_batches": 1.0},
        {"limit_train_batches": 0, "fast_dev_run": True},
        {"val_check_interval": 0.5},
        {"val_check_interval": 100},
        {"val_check_interval": "00:01:00:00", "max_time": {"hours": 1}},
        {"accelerator": "cpu", "devices": 2},
        {"accelerator": "cpu", "devices": "2", "strategy": "ddp"},
        {"gradient_clip_val": 0, "log_every_n_steps": 0, "num_sanity_val_steps": -1},
        {"profiler": "simple", "gradient_clip_algorithm": "value"},
    ],
)
def test_check_trainer__takes_what_works(options):
    check(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": -2}, "--trainer.max_epochs must be at least -1, not -2"),
        ({"max_epochs": 0}, "--trainer.max_epochs must be above 0: 0 would fit nothing"),
        ({"max_steps": 0}, "--trainer.max_steps must be above 0: 0 would fit nothing"),
        ({"limit_train_batches": 0}, "--trainer.limit_train_batches must be above 0: 0 would fit nothing"),
        ({"limit_train_batches": 1.5}, "--trainer.limit_train_batches takes a whole number of batches, or a share"),
        ({"limit_val_batches": float("nan")}, "--trainer.limit_val_batches takes a whole number of batches"),
        ({"limit_val_batches": -1}, "--trainer.limit_val_batches must be at least 0, not -1"),
        ({"accumulate_grad_batches": 0}, "--trainer.accumulate_grad_batches must be at least 1, not 0"),
        ({"gradient_clip_val": float("nan")}, "--trainer.gradient_clip_val must be at least 0, not nan"),
        ({"gradient_clip_algorithm": "x"}, "--trainer.gradient_clip_algorithm takes one of norm, value, not 'x'"),
        ({"profiler": "x"}, "--trainer.profiler takes one of simple"),
        ({"max_time": "1 h"}, "--trainer.max_time takes a time as days:hours:minutes:seconds, not '1 h'"),
        ({"max_time": {"hour": 1}}, "--trainer.max_time takes a time in weeks, days, .*, not in 'hour'"),
        ({"val_check_interval": 0}, "--trainer.val_check_interval must be at least 1, not 0"),
        ({"val_check_interval": 2.5}, r"--trainer.val_check_interval must be in \(0, 1\], not 2.5"),
        ({"check_val_every_n_epoch": 0}, "--trainer.check_val_every_n_epoch must be at least 1, not 0"),
        ({"devices": 0}, "--trainer.devices must name at least one device, not 0"),
        ({"devices": "x"}, "--trainer.devices takes auto, a number or a list of them, not 'x'"),
        ({"accelerator": "cpu", "devices": [0]}, r"--trainer.devices takes a number of processes on a CPU, not \[0\]"),
        ({"accelerator": "cpu", "devices": "-1"}, "--trainer.devices takes a number of processes on a CPU, not '-1'"),
        ({"accelerator": "tpu"}, "--trainer.accelerator tpu: there is none on this machine; use auto, or one of cpu"),
        ({"accelerator": "hpu"}, "--trainer.accelerator hpu: there is none on this machine"),
        ({"accelerator": "gpuu"}, "--trainer.accelerator takes no 'gpuu'; use auto"),
        ({"strategy": "dpp"}, "--trainer.strategy takes no 'dpp'; did you mean ddp?"),
        ({"barebones": True}, "--trainer.barebones forbids the logs and checkpoints"),
    ],
)
def test_check_trainer__refuses_what_cannot_work(options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        check(**options)


@pytest.mark.parametrize(("command", "limit"), [("test", "test"), ("validate", "val"), ("predict", "predict")])
def test_check_trainer__nothing_to_evaluate(command, limit):
    with pytest.raises(OptionError, match=f"--trainer.limit_{limit}_batches must be above 0: 0 would {command} nothin"):
        check(command, **{f"limit_{limit}_batches": 0})
    check("fit", **{f"limit_{limit}_batches": 0})


def test_check_trainer__batchnorm_is_synchronised_on_gpus_alone():
    with pytest.raises(OptionError, match="--trainer.sync_batchnorm true and --trainer.accelerator cpu"):
        check(accelerator="cpu", sync_batchnorm=True)


def test_check_trainer__another_machine_may_have_the_devices():
    check(here=False, accelerator="tpu")


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
@pytest.mark.parametrize(("cores", "most"), [(1, 2), (2, 2), (8, 8)])
def test_check_trainer__no_more_processes_than_cores(accelerator, cores, most, monkeypatch):
    monkeypatch.setattr(option_checks, "core_count", lambda: cores)
    monkeypatch.setattr(option_checks, "has_accelerator", lambda: False)
    for fine in (1, most, str(most)):
        check(accelerator=accelerator, devices=fine)
    told = f"--trainer.devices 99 would start 99 processes on a CPU, .* has {cores} cores?: use at most {most}"
    for devices in (99, "99"):
        with pytest.raises(OptionError, match=told):
            check(accelerator=accelerator, devices=devices)
    with pytest.raises(OptionError, match=f"{most + 1} processes"):
        check(accelerator=accelerator, devices=most + 1)
    check(here=False, accelerator=accelerator, devices=99)


def test_check_trainer__lightning_counts_gpus(monkeypatch):
    monkeypatch.setattr(option_checks, "has_accelerator", lambda: True)
    check(accelerator="auto", devices=99)


def test_check_trainer__weights_of_16_bits_are_told():
    with pytest.warns(UserWarning, match=r"--trainer.precision 16-true keeps the weights themselves in 16 bits"):
        check(precision="16-true")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_check_seed__names_the_option(seed):
    with pytest.raises(OptionError, match=f"--seed_everything must be from 0 to 4294967295, not {seed}"):
        check_seed(seed)
    for fine in (0, 2**32 - 1, True, False):
        check_seed(fine)


def test_as_options__values_that_are_objects_are_left_out():
    text = "`Trainer(barebones=True, logger=[<a.B object at 0x7f>])` was passed"
    assert as_options(text) == "--trainer.barebones was passed"
    assert as_options("You passed `devices='0'` and --trainer.max_epochs 3") == (
        "You passed --trainer.devices 0 and --trainer.max_epochs 3"
    )
    assert as_options("`other=3` of limit_val_batches") == "`other=3` of --trainer.limit_val_batches"


def test_naming_options__of_what_lightning_alone_refuses():
    with pytest.raises(ValueError, match="--trainer.sync_batchnorm|--trainer cannot be built"), naming_options():
        pl.Trainer(accelerator="cpu", strategy="deepspeed", logger=False)
    with pytest.raises(ValueError, match=r"^--trainer cannot be built: a reason"), naming_options():
        raise TypeError("a reason")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seed_everything 4294967296", "--seed_everything must be from 0 to 4294967295"),
        ("--trainer.val_check_interval 99", "--trainer.val_check_interval (99) must be less than or equal to the"),
        (
            "--trainer.limit_val_batches 0 --early_stopping.patience 2",
            "--early_stopping.patience needs validation, and",
        ),
        ("--trainer.limit_val_batches 0 --model.schedule Plateau", "--trainer.limit_val_batches 0 leaves it out"),
        ("--trainer.check_val_every_n_epoch 9 --model.schedule Plateau", "comes after --trainer.max_epochs 1"),
        ("--model_summary.max_depth -5", "--model_summary.max_depth must be at least -1, not -5"),
        ("--progress_bar.refresh_rate -1", "--progress_bar.refresh_rate must be at least 0, not -1"),
        ("--model.loss.label_smoothing 2", "--model.loss.label_smoothing must be in [0, 1), not 2.0"),
        ("--model.loss.class_weights effective --model.loss.beta 1", "--model.loss.beta must be in [0, 1), not 1.0"),
        ("--model.loss LogitAdjusted --model.loss.tau .nan", "--model.loss.tau must be a finite number, not nan"),
        ("--model.schedule.warmup 3", "--model.schedule.warmup must be in [0, 1), not 3.0"),
        ("--model.schedule Plateau --model.schedule.monitor x", "--model.schedule.monitor must be a validation metric"),
        ("--model.schedule WarmRestarts --model.schedule.cycles 0", "--model.schedule.cycles must be from 1 to 1000"),
        ("--ema.decay .nan", "--ema.decay must be in [0, 1), not nan"),
        ("--model.hidden [0]", "--model.hidden must be at least 1, not [0]"),
        ("--model.dropout 1.5", "--model.dropout must be in [0, 1), not 1.5"),
        ("--data.strong_augmentation [flip,flip]", "--data.strong_augmentation has 'flip' more than once"),
        ("--data.batch_size 1", "--data.batch_size 1 makes a batch of one image, and BatchNorm cannot be trained on"),
        ("--model.optimizer.weight_decay -1", "--model.optimizer.weight_decay -1.0 cannot work: Invalid weight_decay"),
    ],
)
def test_fit__names_the_option(words, message, tmp_path, capsys):
    assert run("fit", "--model", "MLP", "--trainer.max_epochs", "1", *words.split(), root=tmp_path / "runs") == 2
    told = capsys.readouterr().err.partition("error: ")[2]
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_fit__without_validation_the_last_epoch_stands_for_the_best(tmp_path):
    words = ("--model", "MLP", "--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0")
    assert run("fit", *words, root=tmp_path) == 0
    assert [path.name for path in (tmp_path / "digits/mlp/checkpoints").iterdir()] == ["last.ckpt"]
