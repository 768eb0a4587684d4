"""What a GPU does in a training step must not be waited for by the host."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from callbacks import EMA
from engine.training_loop import use_lean_loop
from lightning_modules import SmallCNN
from lightning_modules.training.schedules import OneCycle
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


class NoWait(Callback):
    """Let each wait for the GPU raise an error, from the first batch of an epoch until the last has been trained on."""

    def __init__(self):
        self.steps = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        torch.cuda.set_sync_debug_mode("error")
        self.steps += 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.is_last_batch:
            torch.cuda.set_sync_debug_mode("default")


def fit(folder, **options):
    data = Blobs(
        count=256,
        channels=3,
        size=32,
        augmentation=("resized_crop", "flip", "vertical_flip", "quarter_turns", "affine", "color", "trivial", "cutout"),
        mixup=1.0,
        cutmix=1.0,
        val_fraction=0.1,
    )
    model = SmallCNN(data_info=data.info, memory_format="channels_last", schedule=OneCycle())
    # it runs after the callbacks whose steps it watches
    watch = NoWait()
    callbacks = [EMA(0.99), watch] if options["accelerator"] == "gpu" else [EMA(0.99)]
    # the losses are looked at when metrics are logged: that is a wait by choice
    fitting = trainer(folder, devices=1, max_epochs=2, log_every_n_steps=1000, callbacks=callbacks, **options)
    use_lean_loop(fitting)
    fitting.fit(model, datamodule=data)
    return fitting, watch


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gpu__no_step_waits(tmp_path, precision):
    try:
        _, watch = fit(tmp_path, accelerator="gpu", precision=precision)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watch.steps > 20


def test_the_same_fit_on_a_cpu(tmp_path):
    fitting, _ = fit(tmp_path, accelerator="cpu")
    assert fitting.global_step > 20
