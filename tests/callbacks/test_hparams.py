import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import HParamsMetrics, RunRecorder
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def fitted(folder, *callbacks, **options):
    """Fit for three epochs by NLL."""
    data = Blobs(val_fraction=0.3)
    logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    recorder = RunRecorder(folder / "result.json", folder / "predictions.safetensors", {}, {}, "val/nll", "min")
    hparams = HParamsMetrics({"lr": 0.5, "hidden": [8]}, "val/nll")
    best = ModelCheckpoint(folder, monitor="val/nll")
    fitting = trainer(folder, logger=logger, callbacks=[recorder, hparams, best, *callbacks], max_epochs=3, **options)
    torch.manual_seed(0)
    model = MLP(data_info=data.info, hidden=[8], optimizer=lambda p: torch.optim.SGD(p, lr=0.01), schedule=None)
    return fitting, recorder, model, data


def test_hparams__are_of_the_kept_checkpoint(tmp_path):
    class Spoil(Callback):
        def on_validation_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                pl_module.head.weight.data.mul_(-50)

    fitting, recorder, model, data = fitted(tmp_path, Spoil())
    fitting.fit(model, datamodule=data)
    assert recorder.best_epoch == 1
    events = EventAccumulator(str(tmp_path)).Reload()
    for name in ("accuracy", "nll", "ece"):
        points = events.Scalars(f"best/val_{name}")
        assert [point.value for point in points] == [pytest.approx(recorder.best[name], rel=1e-6)]
    assert recorder.best["nll"] < float(fitting.callback_metrics["val/nll"])
    announced = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    assert b"best/val_accuracy" in announced
    assert b"lr" in announced
    assert not [tag for tag in events.Tags()["scalars"] if tag.startswith("hp")]


def test_hparams__a_run_that_is_stopped_has_no_value(tmp_path):
    class Stop(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    fitting, _, model, data = fitted(tmp_path, Stop())
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fitting.fit(model, datamodule=data)
    fitting.loggers[0].save()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert not [tag for tag in events.Tags()["scalars"] if tag.startswith(("best", "hp"))]


def test_options__keep_numbers_and_write_lists():
    callback = HParamsMetrics({"b": 1, "c": None, "d": [1, 2], "f": 0.5})
    assert callback.options == {"b": 1, "c": "None", "d": "[1, 2]", "f": 0.5}
