from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import HParamsMetrics
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def test_hparams__final_metrics_stand_beside_the_options(tmp_path):
    data = Blobs()
    logger = TensorBoardLogger(tmp_path, name="", version="", default_hp_metric=False)
    callback = HParamsMetrics({"model": {"hidden": [8]}, "data": {"batch_size": 16}})
    fitting = trainer(tmp_path, logger=logger, callbacks=[callback], enable_checkpointing=False)
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    events = EventAccumulator(str(tmp_path)).Reload()
    final = events.Scalars("hp/val/accuracy")[-1].value
    assert abs(final - float(fitting.callback_metrics["val/accuracy"])) < 1e-6
    announced = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    assert b"hp/val/accuracy" in announced


def test_options__keep_numbers_and_write_lists():
    callback = HParamsMetrics(
        {"a": {"b": 1, "c": None}, "d": [1, 2], "e": {"class_path": "x.Y", "init_args": {"f": 0.5}}}
    )
    assert callback.options == {"a.b": 1, "a.c": "None", "d": "[1, 2]", "e": "Y", "e.f": 0.5}
