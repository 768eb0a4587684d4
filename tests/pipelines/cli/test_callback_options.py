import pytest
import yaml

from pipelines.cli.callback_options import as_list
from tests.helpers.cli import config, run

FIT = (
    "fit",
    "--model",
    "MLP",
    "--model.hidden",
    "[4]",
    "--trainer.max_epochs",
    "1",
    "--trainer.limit_train_batches",
    "2",
)


def said(capsys):
    text = capsys.readouterr().err.partition("error: ")[2].strip()
    assert len(text.splitlines()) == 1
    return text


def test_as_list():
    assert as_list(None) == as_list(False) == as_list([]) == []
    assert as_list("a") == ["a"]
    assert as_list(("a", "b")) == ["a", "b"]


MONITOR = {"class_path": "lightning.pytorch.callbacks.DeviceStatsMonitor", "init_args": {"cpu_stats": False}}


@pytest.mark.parametrize("given", ["DeviceStatsMonitor", MONITOR, [MONITOR]], ids=["name", "mapping", "list"])
def test_cli__one_callback_needs_no_list(given, tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": given}}))
    assert run(*FIT, "--config", tmp_path / "a.yaml", root=tmp_path) == 0
    assert "DeviceStatsMonitor" in str(config(tmp_path)["trainer"]["callbacks"])
    # the saved config runs again
    assert run("fit", "--config", tmp_path / "digits/mlp/config.yaml", "--run.name", "again", root=tmp_path) == 0


def test_cli__one_callback_on_the_command_line_is_added_to(tmp_path):
    two = ("--trainer.callbacks", "DeviceStatsMonitor", "--trainer.callbacks+=LambdaCallback")
    assert run(*FIT, *two, root=tmp_path) == 0
    assert len(config(tmp_path)["trainer"]["callbacks"]) == 2


@pytest.mark.parametrize(
    ("name", "options", "way_out"),
    [
        ("StochasticWeightAveraging", {"swa_lrs": 0.1}, "average by --ema.decay"),
        ("WeightAveraging", {}, "average by --ema.decay"),
        ("EMAWeightAveraging", {}, "average by --ema.decay"),
        ("callbacks.EMA", {"decay": 0.9}, "average by --ema.decay"),
        ("LearningRateFinder", {}, "run `python train.py tune` before"),
        ("BatchSizeFinder", {}, "run `python train.py tune --tune.batch_size true` before"),
        ("callbacks.EarlyStopping", {}, "set it by --early_stopping.patience"),
        ("RichProgressBar", {}, "set it by --progress_bar"),
        ("Throughput", {}, "every run has it: leave it out"),
    ],
)
def test_cli__callbacks_that_are_refused(name, options, way_out, tmp_path, capsys):
    content = {"trainer": {"callbacks": [{"class_path": name, "init_args": options}]}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    assert run(*FIT, "--config", tmp_path / "a.yaml", root=tmp_path / "runs") == 2
    text = said(capsys)
    assert text.startswith(f"--trainer.callbacks {name.rpartition('.')[2]}: ")
    assert way_out in text
    assert not (tmp_path / "runs").exists()
