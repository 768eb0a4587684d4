import re

from callbacks import EpochLines, ProgressBar, RunRecorder
from lightning_modules import MLP
from pipelines.cli.run_parts import kept
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def lines(text):
    return [line for line in text.splitlines() if line.startswith("epoch ")]


def test_lines__one_an_epoch(tmp_path, capsys):
    data = Blobs(val_fraction=0.3)
    recorder = RunRecorder(tmp_path / "result.json", tmp_path / "predictions.safetensors", {}, {}, "val/nll", "min")
    fitting = trainer(tmp_path, callbacks=[recorder, EpochLines("val/nll")], max_epochs=3, enable_checkpointing=False)
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    printed = lines(capsys.readouterr().out)
    form = r"epoch \d/2: train/loss \d\.\d{4}, val/nll \d\.\d{4}( \(best so far\))?, \d+\.\d s, \d+ s left"
    assert [re.fullmatch(form, line) is not None for line in printed] == [True] * 3
    assert [line[6] for line in printed] == ["0", "1", "2"]
    assert "best so far" in printed[0]
    # of the last epoch
    assert f"train/loss {float(fitting.callback_metrics['train/loss']):.4f}, val/nll" in printed[-1]
    assert f"val/nll {float(fitting.callback_metrics['val/nll']):.4f}" in printed[-1]
    assert printed[-1].endswith(" 0 s left")


def test_lines__without_validation_or_an_end(tmp_path, capsys):
    data = Blobs(val_fraction=0)
    model = MLP(data_info=data.info, hidden=[8], schedule=None)
    fitting = trainer(tmp_path, callbacks=[EpochLines()], max_epochs=-1, max_steps=8, enable_checkpointing=False)
    fitting.fit(model, datamodule=data)
    printed = lines(capsys.readouterr().out)
    assert re.fullmatch(r"epoch 0: train/loss \d\.\d{4}, \d+\.\d s, \d+ s left", printed[0])


def test_lines__of_the_first_process_alone(tmp_path, capsys, monkeypatch):
    data = Blobs()
    fitting = trainer(tmp_path, callbacks=[EpochLines()], max_epochs=1, enable_checkpointing=False)
    monkeypatch.setattr(type(fitting), "is_global_zero", property(lambda self: False))
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    assert not lines(capsys.readouterr().out)


def test_kept__a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch):
    both = [ProgressBar(), EpochLines()]
    for shown, terminal, kind in ((None, True, ProgressBar), (True, False, EpochLines), (False, True, None)):
        monkeypatch.setattr("pipelines.cli.run_parts.draws", lambda terminal=terminal: terminal)
        options = {"enable_progress_bar": shown, "enable_checkpointing": None, "enable_model_summary": None}
        found = kept(both, options, "val/accuracy", True, True, True)
        assert [type(callback) for callback in found] == [kind] * (kind is not None)
