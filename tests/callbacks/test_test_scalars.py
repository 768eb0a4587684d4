from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import TestScalars
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.training import fit, trainer


def test_scalars__of_a_test_at_the_step_of_the_checkpoint(tmp_path):
    data = Blobs()
    path = fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=2)
    model = MLP(data_info=data.info, hidden=[8])
    trainer(tmp_path, callbacks=[TestScalars()]).test(model, datamodule=data, ckpt_path=path, verbose=False)
    events = EventAccumulator(str(tmp_path)).Reload()
    (point,) = events.Scalars("test/accuracy")
    assert abs(point.value - model.metrics["accuracy"]) < 1e-6
    # two epochs of 54 samples in batches of 16
    assert point.step == 8
