import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from callbacks import EMA, LastCheckpoint
from datamodules.image_data import ImageDataModule
from engine.training_loop import LeanEpochLoop, use_lean_loop
from lightning_modules import MLP
from lightning_modules.training.schedules import Constant, Plateau
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


class Listening(Callback):
    """Remember hooks, in order, with the state that each sees."""

    def __init__(self):
        self.heard = []

    def note(self, hook, trainer, *more):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        progress = trainer.fit_loop.epoch_loop.state_dict()
        # the number of the state's batches changes the list of a later save alone
        self.heard.append((hook, trainer.current_epoch, trainer.global_step, rate, repr(progress), *more))

    def on_train_epoch_start(self, trainer, pl_module):
        self.note("epoch start", trainer)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.note("batch start", trainer, batch_idx, batch["id"].tolist())

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pl_module.log("a_metric", float(batch_idx))
        self.note("batch end", trainer, batch_idx, outputs["loss"].item(), pl_module._current_fx_name)

    def on_validation_start(self, trainer, pl_module):
        self.note("validation", trainer, trainer.sanity_checking)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.note("validation batch start", trainer, batch_idx, batch["id"].tolist(), pl_module._current_fx_name)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        pl_module.log("of_validation", float(batch["label"].sum()), on_step=True, on_epoch=True)
        self.note("validation batch end", trainer, batch_idx, outputs, pl_module._current_fx_name)

    def on_train_epoch_end(self, trainer, pl_module):
        metrics = {name: value.item() for name, value in sorted(trainer.callback_metrics.items())}
        self.note("epoch end", trainer, metrics)


def fit(tmp_path, lean, callbacks=(), model_class=MLP, model_options=None, **options):
    torch.manual_seed(5)
    data = Blobs(augmentation=("crop", "flip"), mixup=0.2)
    model = model_class(data_info=data.info, hidden=[8], **(model_options or {}))
    listening = Listening()
    defaults = {"max_epochs": 3, "enable_checkpointing": False, "callbacks": [listening, *callbacks]}
    fitting = trainer(tmp_path, **defaults | options)
    if lean:
        use_lean_loop(fitting)
    fitting.fit(model, datamodule=data)
    return model, listening.heard, fitting


CASES = {
    "plain": {},
    "clipped": {"gradient_clip_val": 0.01},
    "bf16": {"precision": "bf16-mixed"},
    "validated within epochs": {"val_check_interval": 2},
    "validated rarely": {"check_val_every_n_epoch": 2},
    "stopped at a step": {"max_steps": 7, "max_epochs": -1, "model_options": {"schedule": None}},
    "constant": {"model_options": {"schedule": Constant()}},
    "plateau": {"model_options": {"schedule": Plateau(patience=0)}},
    "few batches": {"limit_train_batches": 2},
    "accumulated": {"accumulate_grad_batches": 2},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_loop__does_what_lightnings_does(options, tmp_path):
    ours, our_hooks, fitting = fit(tmp_path, True, **options)
    stock, stock_hooks, _ = fit(tmp_path, False, **options)
    assert type(fitting.fit_loop.epoch_loop) is LeanEpochLoop
    loop = fitting.fit_loop.epoch_loop
    assert loop._lean is loop.val_loop._lean is ("accumulate_grad_batches" not in options)
    assert [hook[:4] for hook in our_hooks] == [hook[:4] for hook in stock_hooks]
    assert our_hooks == stock_hooks
    for name, value in stock.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name


def test_loop__averages_alike(tmp_path):
    ours, _, _ = fit(tmp_path, True, [EMA(decay=0.8)])
    stock, _, _ = fit(tmp_path, False, [EMA(decay=0.8)])
    assert torch.equal(ours.head.weight, stock.head.weight)


class Stepping(MLP):
    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)


class Telling(MLP):
    def training_step(self, batch, batch_idx):
        return {"loss": super().training_step(batch, batch_idx), "more": batch_idx}


class Looking(Callback):
    def on_after_backward(self, trainer, pl_module):
        self.seen = True


class Closing(torch.optim.LBFGS):
    pass


@pytest.mark.parametrize(
    "options",
    [
        {"model_class": Stepping},
        {"model_class": Telling},
        {"callbacks": [Looking()]},
        {"profiler": "simple"},
        {"model_options": {"optimizer": lambda p: Closing(p, max_iter=2), "schedule": None}, "max_epochs": 1},
    ],
    ids=[
        "a hook of the model",
        "a training step of its own",
        "a hook of a callback",
        "a profiler",
        "an optimizer that calls the step",
    ],
)
def test_loop__leaves_what_it_does_not_cover_to_lightnings(options, tmp_path):
    _, _, fitting = fit(tmp_path, True, **options)
    assert not fitting.fit_loop.epoch_loop._lean
    assert fitting.global_step > 0


class Validating(MLP):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("of_the_step", float(batch_idx))


def test_loop__leaves_a_validation_step_of_its_own_to_lightnings(tmp_path):
    _, _, fitting = fit(tmp_path, True, model_class=Validating)
    loop = fitting.fit_loop.epoch_loop
    assert loop._lean
    assert not loop.val_loop._lean
    assert "of_the_step" in fitting.callback_metrics


def test_loop__a_callback_that_looks_at_gradients_sees_them(tmp_path):
    looking = Looking()
    fit(tmp_path, True, [looking])
    assert looking.seen


def test_loop__other_data_modules_are_left_to_lightning(tmp_path):
    class Own(Blobs):
        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            self.transferred = True
            return super().transfer_batch_to_device(batch, device, dataloader_idx)

    data = Own()
    fitting = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    use_lean_loop(fitting)
    fitting.fit(MLP(data_info=data.info, hidden=[4]), datamodule=data)
    assert data.transferred
    assert isinstance(data, ImageDataModule)


def test_loop__stops_when_asked_to(tmp_path):
    class Stopping(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.should_stop = trainer.global_step == 2

    _, _, fitting = fit(tmp_path, True, [Stopping()])
    _, _, stock = fit(tmp_path, False, [Stopping()])
    assert fitting.global_step == stock.global_step == 2
    assert isinstance(fitting, pl.Trainer)


class Breaking(Callback):
    """Stop the run with an error at the start of an epoch, or after a batch of it."""

    def __init__(self, epoch, batch=None):
        self.epoch, self.batch = epoch, batch

    def on_train_epoch_start(self, trainer, pl_module):
        if self.batch is None and trainer.current_epoch == self.epoch:
            raise ZeroDivisionError

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.batch == batch_idx and trainer.current_epoch == self.epoch:
            raise ZeroDivisionError


LIMITS = [
    {"max_epochs": 4},
    {"max_steps": 14, "max_epochs": -1},
    {"max_steps": 14, "max_epochs": -1, "check_val_every_n_epoch": 3},
]


@pytest.mark.parametrize("breaking", [Breaking(2), Breaking(2, batch=3)], ids=["between epochs", "within an epoch"])
@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("schedule", [None, Plateau(monitor="val/loss", patience=0)], ids=["constant", "plateau"])
def test_loop__a_resumed_run_ends_at_the_uninterrupted_weights(schedule, limits, breaking, tmp_path):
    def start(folder, callbacks=(), ckpt_path=None):
        torch.manual_seed(3)
        data = Blobs(augmentation=("crop",))
        model = MLP(data_info=data.info, hidden=[8], dropout=0.0, schedule=schedule)
        saver = LastCheckpoint(every_n_train_steps=1 if breaking.batch else None)
        saver.dirpath = str(folder)
        fitting = trainer(folder, callbacks=[*callbacks, saver], **limits)
        use_lean_loop(fitting)
        fitting.fit(model, datamodule=data, ckpt_path=ckpt_path)
        return model, fitting

    whole, uninterrupted = start(tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        start(tmp_path / "parts", [breaking])
    resumed, fitting = start(tmp_path / "parts", ckpt_path=tmp_path / "parts/last.ckpt")
    assert fitting.global_step == uninterrupted.global_step
    assert fitting.optimizers[0].param_groups[0]["lr"] == uninterrupted.optimizers[0].param_groups[0]["lr"]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_use_lean_loop__another_version_of_lightning_keeps_its_own(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("engine.training_loop.lightning.__version__", "2.7.0")
    fitting = trainer(tmp_path)
    with caplog.at_level("INFO"):
        use_lean_loop(fitting)
    assert not isinstance(fitting.fit_loop.epoch_loop, LeanEpochLoop)
    assert "Lightning's own training loops are used" in caplog.text
    assert "this is 2.7.0" in caplog.text
