import functools

import pytest
import torch

from lightning_modules import MLP
from lightning_modules.training.schedules import WarmupCosine
from tests.helpers.data import Blobs
from tests.helpers.training import trainer

SGD = functools.partial(torch.optim.SGD, lr=0.1)


def fitted(folder, ckpt_path=None, epochs=1, gathered=1, **options):
    """Fit by SGD in batches of 16; return the Trainer."""
    data = Blobs(count=64, batch_size=16)
    model = MLP(data_info=data.info, hidden=[4], optimizer=SGD, **options)
    fitting = trainer(folder, max_epochs=epochs, accumulate_grad_batches=gathered, enable_checkpointing=False)
    fitting.fit(model, datamodule=data, ckpt_path=ckpt_path)
    return fitting


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({}, 0.1),
        ({"lr_scaling": "linear", "lr_batch": 4}, 0.4),
        ({"lr_scaling": "sqrt", "lr_batch": 4}, 0.2),
        ({"lr_scaling": "linear", "lr_batch": 8, "gathered": 2}, 0.4),
    ],
)
def test_rate__grows_with_the_effective_batch(options, rate, tmp_path):
    (group,) = fitted(tmp_path, schedule=None, **options).optimizers[0].param_groups
    assert group["lr"] == pytest.approx(rate)


def test_rate__is_scaled_once_in_a_resumed_run(tmp_path):
    options = {"lr_scaling": "linear", "lr_batch": 4, "schedule": WarmupCosine()}
    whole = fitted(tmp_path, epochs=2, **options)
    fitted(tmp_path, **options).save_checkpoint(tmp_path / "half.ckpt")
    resumed = fitted(tmp_path, ckpt_path=tmp_path / "half.ckpt", epochs=2, **options)
    initial = [fitting.optimizers[0].param_groups[0]["initial_lr"] for fitting in (whole, resumed)]
    assert initial == pytest.approx([0.4, 0.4])


def test_batch__is_a_number():
    with pytest.raises(ValueError, match="--model.lr_batch must be at least 1"):
        MLP(data_info=Blobs().info, lr_batch=0)
