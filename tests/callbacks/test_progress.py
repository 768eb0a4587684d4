from callbacks import ProgressBar
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def test_progress__shows_the_validation_accuracy(tmp_path, capsys):
    data = Blobs()
    bar = ProgressBar()
    assert bar.refresh_rate <= 5
    fitting = trainer(tmp_path, callbacks=[bar], enable_progress_bar=True, enable_checkpointing=False)
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    printed = capsys.readouterr().out
    assert "Epoch 1/1" in printed
    assert "val/accuracy" in printed
