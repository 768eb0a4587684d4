import csv

import pytest
from lightning.pytorch.loggers import CSVLogger

from callbacks import LearningRates
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def logged(folder, monkeypatch, points=200, **options):
    """Fit 3 epochs of 4 batches; return the steps whose rate was logged."""
    monkeypatch.setattr("callbacks.learning_rates.POINTS", points)
    data = Blobs()
    logger = CSVLogger(folder, name="", version="")
    defaults = {"max_epochs": 3, "log_every_n_steps": 50, "enable_checkpointing": False}
    fitting = trainer(folder, logger=logger, callbacks=[LearningRates()], **{**defaults, **options})
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    if not (folder / "metrics.csv").is_file():
        return []
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    name = next((each for each in rows[0] if each.startswith("lr-")), "")
    return [int(row["step"]) for row in rows if row.get(name)]


def test_rates__of_a_short_run_at_every_step(tmp_path, monkeypatch):
    assert logged(tmp_path, monkeypatch) == list(range(12))


@pytest.mark.parametrize(
    ("points", "options", "steps"),
    [
        (4, {}, [0, 2, 5, 8, 11]),
        # never more seldom than asked for
        (1, {"log_every_n_steps": 4}, [0, 3, 7, 11]),
        (200, {"log_every_n_steps": 0}, []),
        (200, {"max_steps": 5}, [0, 1, 2, 3, 4]),
        (200, {"accumulate_grad_batches": 2}, list(range(6))),
    ],
)
def test_rates__of_longer_runs_often_enough(tmp_path, monkeypatch, points, options, steps):
    assert logged(tmp_path, monkeypatch, points, **options) == steps


def test_rates__are_not_copied_to_the_device(tmp_path):
    """A copy at every step would let every step wait for the device."""
    data = Blobs()
    logger = CSVLogger(tmp_path, name="", version="")
    fitting = trainer(tmp_path, logger=logger, callbacks=[LearningRates()], enable_checkpointing=False)
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    # what Lightning copies there ends up here
    assert not [name for name in fitting.callback_metrics if name.startswith("lr-")]
