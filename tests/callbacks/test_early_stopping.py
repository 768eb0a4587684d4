import pytest

from callbacks import EarlyStopping
from tests.helpers.cli import result, run


def test_cli__stops_when_validation_no_longer_improves(tmp_path, capsys):
    # nothing is learnt, so nothing improves after the first epoch
    words = ("--model", "Linear", "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0")
    options = ("--early_stopping.patience", "2", "--trainer.max_epochs", "9")
    assert run("fit", *words, *options, root=tmp_path) == 0
    assert result(tmp_path, name="linear")["fit"]["epochs"] == 3


def test_cli__on_the_training_loss(tmp_path, capsys):
    """It needs no validation, and takes the loss of the epoch that has just ended."""
    rate = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0")
    words = ("--model", "Linear", *rate, "--data.val_fraction", "0")
    options = ("--early_stopping.patience", "2", "--early_stopping.monitor", "train/loss")
    assert (
        run("fit", *words, *options, "--early_stopping.min_delta", "100", "--trainer.max_epochs", "9", root=tmp_path)
        == 0
    )
    assert result(tmp_path, name="linear")["fit"]["epochs"] == 3


def test_monitor__of_training_is_lower_or_higher():
    assert EarlyStopping(1, "train/loss").mode == "min"
    assert EarlyStopping(1, "train/accuracy").mode == "max"
    with pytest.raises(ValueError, match="must be a metric that is logged, not 'train/nll'"):
        EarlyStopping(1, "train/nll")


def test_cli__is_off_by_default(tmp_path):
    words = ("--model", "Linear", "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0")
    assert run("fit", *words, "--trainer.max_epochs", "5", root=tmp_path) == 0
    assert result(tmp_path, name="linear")["fit"]["epochs"] == 5


def test_cli__watches_what_chooses_the_best(tmp_path, capsys):
    monitor = ("--best_checkpoint.monitor", "val/nll", "--best_checkpoint.mode", "min")
    options = ("--model", "Linear", "--early_stopping.patience", "1", "--trainer.max_epochs", "1")
    assert run("fit", *options, *monitor, root=tmp_path) == 0
    text = (tmp_path / "digits/linear/config.yaml").read_text()
    assert "monitor: val/nll\n  min_delta" in text


def test_cli__needs_validation(tmp_path, capsys):
    options = ("--model", "Linear", "--data.val_fraction", "0")
    assert run("fit", *options, "--early_stopping.patience", "1", root=tmp_path) == 2
    assert "--early_stopping.patience needs validation" in capsys.readouterr().err
    assert run("fit", *options, "--model.schedule", "Plateau", root=tmp_path) == 2
    assert "--model.schedule Plateau needs validation" in capsys.readouterr().err
    assert not (tmp_path / "digits").exists()


@pytest.mark.parametrize(
    "options",
    [{"patience": 0}, {"min_delta": -1.0, "patience": 1}, {"monitor": "val/acc", "patience": 1}, {"min_delta": 0.1}],
)
def test_early_stopping__impossible_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        EarlyStopping(**options)
