import math

import pytest
import torch
from torch import nn

from callbacks import LastCheckpoint
from lightning_modules import MLP
from lightning_modules.training.finite_loss import LossWatch, NotFiniteError, check_weights
from tests.helpers.cli import run
from tests.helpers.data import Blobs
from tests.helpers.training import trainer

# a factor of the loss by its step
BROKEN: dict[int, float] = {}


class _Breaking(MLP):
    """Its loss can be told to break, and each device to be looked at rarely."""

    rarely = False

    def __post_init__(self):
        super().__post_init__()
        self.criterion.register_forward_hook(
            lambda module, given, loss: loss * BROKEN.get(self._trainer.global_step, 1.0)
        )

    def on_train_start(self):
        super().on_train_start()
        if self.rarely:
            self.loss_watch.start(at_once=False, every=3)


class _Rarely(_Breaking):
    rarely = True


@pytest.fixture
def broken(request):
    BROKEN.clear()
    BROKEN.update(request.param)
    yield request.param
    BROKEN.clear()


def fit(model_class, tmp_path, **options):
    """Fit 4 steps an epoch, and return what it failed with, the model and its data."""
    torch.manual_seed(7)
    data = Blobs(count=70, batch_size=16)
    model = model_class(data_info=data.info, hidden=[8])
    saver = LastCheckpoint()
    saver.dirpath = str(tmp_path)
    fitting = trainer(tmp_path, max_epochs=3, callbacks=[saver], **options)
    with pytest.raises(NotFiniteError) as raised:
        fitting.fit(model, datamodule=data)
    return str(raised.value), model, data, fitting


@pytest.mark.parametrize("model_class", [_Breaking, _Rarely])
@pytest.mark.parametrize("broken", [{6: math.nan}, {6: math.inf}, {7: math.nan}], indirect=True)
def test_fit__stops_and_names_step_and_samples(model_class, broken, tmp_path):
    ((step, factor),) = broken.items()
    message, _, data, _ = fit(model_class, tmp_path)
    assert message.startswith(f"loss is {factor} at step {step} (epoch 1, batch {step - 4}), ids ")
    loader = data._train_loader
    loader.sampler.set_epoch(1)
    ids = [batch["id"].tolist() for batch in loader][step - 4]
    assert message.count("(train") == 8
    assert f"ids {', '.join(f'{i}' for i in ids[:1])} (" in message
    assert f", {ids[7]} (" in message
    assert f"(first 8 of {len(ids)})" in message
    assert "last.ckpt (epoch 0): lower the learning rate (--model.optimizer.lr), clip gradients" in message
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert all(weight.isfinite().all() for weight in saved["state_dict"].values())


@pytest.mark.parametrize("broken", [{6: math.nan}], indirect=True)
def test_fit__on_a_cpu_the_weights_are_not_changed(broken, tmp_path):
    _, model, _, fitting = fit(_Breaking, tmp_path)
    assert fitting.global_step == 6
    assert all(weight.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("broken", [{2: math.nan}], indirect=True)
def test_fit__steps_are_counted_over_gathered_batches(broken, tmp_path):
    message, *_ = fit(_Rarely, tmp_path, accumulate_grad_batches=2, limit_val_batches=0)
    assert "at step 2 (epoch 1, batch 0)" in message


@pytest.mark.parametrize("broken", [{1: math.nan}], indirect=True)
def test_fit__before_the_first_checkpoint(broken, tmp_path):
    message, *_ = fit(_Breaking, tmp_path)
    assert "no checkpoint has been saved yet" in message


@pytest.mark.parametrize("broken", [{}], indirect=True)
def test_fit__weights_broken_by_a_finite_loss_are_not_saved(broken, tmp_path):
    class _Overflowing(MLP):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if self.global_step == 8:
                with torch.no_grad():
                    next(self.parameters()).fill_(math.inf)

    message, *_ = fit(_Overflowing, tmp_path, limit_val_batches=0)
    assert message.startswith("weights are not finite after step 7 (epoch 1, batch 3)")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 0


def test_validation__logits_that_are_not_finite_stop_the_run(tmp_path):
    class _Overflowing(MLP):
        def on_validation_start(self):
            super().on_validation_start()
            if self.global_step == 8:
                with torch.no_grad():
                    next(self.parameters()).fill_(math.inf)

    message, *_ = fit(_Overflowing, tmp_path)
    assert message.startswith(
        "the logits of the val split are not finite after step 7 (epoch 1, batch 3); the last good"
    )


def test_watch__finite_losses_are_looked_at_every_so_often():
    watch = LossWatch()
    watch.start(at_once=False, every=3)
    assert [watch.add(torch.tensor(1.0), number) for number in range(3)] == [False, False, True]
    watch.start(at_once=True, every=3)
    assert [watch.add(torch.tensor(value), number) for number, value in enumerate((1.0, math.nan))] == [False, True]
    watch.enabled = False
    assert not watch.add(torch.tensor(math.nan), 2)


def test_check_weights__a_model_without_weights_has_no_broken_ones(tmp_path):
    check_weights(nn.ReLU().parameters(), trainer(tmp_path))


def test_main__ends_with_2(tmp_path, capsys):
    args = ("--model", "MLP", "--model.optimizer", "SGD", "--model.optimizer.lr", "1e30", "--model.schedule", "null")
    assert run("fit", *args, root=tmp_path) == 2
    error = capsys.readouterr().err
    assert "error: loss is nan at step 1 (epoch 0, batch 1), ids " in error
    assert "Traceback" not in error
