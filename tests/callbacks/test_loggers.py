import csv

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import EventLogger, ResumableCSVLogger, Throughput
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def rows(path):
    with (path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_csv__a_resumed_run_goes_on_below(tmp_path):
    first = ResumableCSVLogger(str(tmp_path))
    first.log_metrics({"val/accuracy": 0.5}, step=1)
    first.save()
    second = ResumableCSVLogger(str(tmp_path))
    second.log_metrics({"val/accuracy": 0.6, "val/nll": 1.0}, step=2)
    second.save()
    assert [(row["step"], row["val/accuracy"], row["val/nll"]) for row in rows(tmp_path)] == [
        ("1", "0.5", ""),
        ("2", "0.6", "1.0"),
    ]


def test_events__one_point_of_the_epoch_a_step(tmp_path):
    """Points on top of each other are smoothed into a zigzag."""
    data = Blobs(val_fraction=0.3)
    callbacks = [Throughput()]
    fitting = trainer(
        tmp_path, callbacks=callbacks, logger=EventLogger(str(tmp_path)), enable_checkpointing=False, max_epochs=3
    )
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    events = EventAccumulator(str(tmp_path)).Reload()
    points = [(event.step, event.value) for event in events.Scalars("epoch")]
    last = fitting.num_training_batches
    assert points == [(last * (epoch + 1) - 1, epoch) for epoch in range(3)]
    assert {"val/accuracy", "train/loss", "speed/images_per_second"} <= set(events.Tags()["scalars"])
