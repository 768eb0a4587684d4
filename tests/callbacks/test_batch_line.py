from types import SimpleNamespace

import pytest

from callbacks import BatchLine
from callbacks.batch_line import told
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


@pytest.mark.parametrize(
    ("world", "gathered", "images", "text"),
    [
        (1, 1, 128, "1 process, 128 images a step"),
        (8, 1, 512, "8 processes x 64 images = 512 images a step"),
        (2, 4, 1024, "2 processes x 128 images x 4 batches accumulated = 1,024 images a step"),
    ],
)
def test_told__what_a_step_is_made_of(world, gathered, images, text):
    fitting = SimpleNamespace(world_size=world, accumulate_grad_batches=gathered)
    assert told(fitting, None, images) == f"{text}; --model.lr_scaling off"


def test_line__is_printed_before_training(tmp_path, capsys):
    data = Blobs(count=64, batch_size=16)
    model = MLP(data_info=data.info, hidden=[4], lr_scaling="sqrt", lr_batch=4)
    trainer(tmp_path, max_epochs=1, callbacks=[BatchLine()], enable_checkpointing=False).fit(model, datamodule=data)
    said = capsys.readouterr().out
    assert "1 process, 16 images a step; learning rate x 2 (--model.lr_scaling sqrt from --model.lr_batch 4)" in said
