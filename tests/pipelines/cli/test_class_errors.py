import inspect

import pytest

from pipelines.cells.fit_parser import FitParser
from pipelines.cli.class_errors import CLASS_OPTIONS, offered
from pipelines.cli.errors import UsageError
from pipelines.stack.command import parse


@pytest.fixture(scope="module")
def parser():
    return FitParser()


@pytest.mark.parametrize("option", CLASS_OPTIONS)
def test_offered__is_public_and_can_be_built(option):
    bases, module = CLASS_OPTIONS[option]
    names = offered(option)
    assert names
    for name in names:
        assert not name.startswith(("_", "Base", "Lazy"))
        if option != "trainer.callbacks":
            assert issubclass(getattr(module, name), bases)
            assert not inspect.isabstract(getattr(module, name))


def test_offered__nothing_of_the_inside():
    assert "Solver" not in offered("model.optimizer")
    assert "StepSchedule" not in offered("model.schedule")
    assert not {"StackedClassifier", "ImageClassifier"} & set(offered("model"))
    assert not {"ImageFiles", "ImageDataModule"} & set(offered("data"))
    assert not {"LearningRateFinder", "RunRecorder", "StochasticWeightAveraging"} & set(offered("trainer.callbacks"))
    assert {"Gallery", "DeviceStatsMonitor"} <= set(offered("trainer.callbacks"))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--model.optimizer", "Solver"], "--model.optimizer: there is no Optimizer 'Solver' (known: ASGD, "),
        (["--model.optimizer", "Optimizer"], "there is no Optimizer 'torch.optim.Optimizer' (known: ASGD, "),
        (["--model.optimizer", "[SGD]"], "there is no Optimizer \"['SGD']\"; did you mean SGD?"),
        (["--model.optimizer", "{class_path: torch.nn.ReLU}"], "there is no Optimizer 'torch.nn.ReLU' (known: "),
        (["--model.optimizer", "{class_path: SGD, init_args: {lr: x}}"], "--model.optimizer.lr takes float, not 'x'"),
        (["--model.optimizer.lr", "x"], "--model.optimizer.lr takes float, not 'x'"),
        (["--model.loss", "{class_path: torch.nn.MSELoss}"], "--model.loss: there is no Loss 'torch.nn.MSELoss'"),
        (["--model.schedule", "StepSchedule"], "there is no Schedule 'StepSchedule' (known: Constant, OneCycle, "),
        (["--model", "ImageClassifier"], "--model: there is no Model 'lightning_modules.ImageClassifier'"),
        (["--model", "{class_path: torch.nn.Linear}"], "there is no Model 'torch.nn.Linear'; did you mean"),
        (["--data", "ImageFiles"], "--data: there is no DataModule 'datamodules.files.image_files.ImageFiles'"),
        (["--data", "DataModule"], "(known: CIFAR10, CIFAR100, Digits, "),
        (["--trainer.callbacks", "Tymer"], "--trainer.callbacks: there is no Callback 'Tymer'; did you mean Timer?"),
        (["--trainer.callbacks+=RunRecorder"], "there is no Callback 'callbacks.RunRecorder' (known: "),
        (["--trainer.callbacks+=ModelPruning"], "ModelPruning needs pruning_fn: give it as --trainer.callbacks+=Mod"),
        (["--trainer.callbacks+=EarlyStopping"], "several classes have this name; give the whole name, lightning."),
        (["--trainer.logger", "CSVLogger"], "CSVLogger needs save_dir: give it as --trainer.logger CSVLogger --tr"),
        (["--trainer.logger", "Timer"], "--trainer.logger: there is no Logger 'Timer' (known: CSVLogger, "),
        (["--trainer.plugins", "foo"], "--trainer.plugins: there is no plugin 'foo' (known: AsyncCheckpointIO, "),
        (["--model", "MLP", "--model.hidden", "64"], "--model.hidden takes a list such as [64], not '64'"),
        (["--model", "MLP", "--model.hidden.0", "64"], "--model.hidden takes a list such as [64], not '64'"),
        (["--model", "StackingModule", "--model.bases", "a"], "--model.bases takes a list such as [a], not 'a'"),
        (["--data", "Manifest", "--data.features", "age"], "--data.features takes a list such as [age], not 'age'"),
        (["--model", "TableRegressor", "--model.loss", "l2"], "--model.loss takes one of 'mse', 'mae', 'huber', not"),
        (["--data.augmentation", "crop"], "--data.augmentation takes a list such as [crop], not 'crop'"),
        (["--figures", "true"], "--figures true: this takes a config file; its options are set one by one"),
    ],
)
def test_fit__a_wrong_class_is_answered_in_one_line(args, expected, parser):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parser.parse(args)
    assert expected in str(caught.value)
    assert "Namespace" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--heads", "LogisticHead"], "--heads takes a list such as [LogisticHead], not 'LogisticHead'"),
        (["--heads", "[{class_path: torch.nn.Linear}]"], "--heads: there is no Head 'torch.nn.Linear' (known: Greedy"),
        (["--heads+=Logistik"], "--heads: there is no Head 'Logistik'; did you mean LogisticHead?"),
        (["--heads", "[Head]"], "--heads: there is no Head 'Head' (known: GreedyHead"),
        (["--executor", "{class_path: torch.nn.Linear}"], "there is no CellExecutor 'torch.nn.Linear' (known: Local"),
        (["--executor", "CellExecutor"], "there is no CellExecutor 'CellExecutor' (known: LocalExecutor, Parsl"),
        (["--members", "[a]"], "--members takes mappings such as {name: a}, not 'a'"),
        (["--fragments", "a.yaml"], "--fragments takes a list such as [a.yaml], not 'a.yaml'"),
    ],
)
def test_stack__a_wrong_class_is_answered_in_one_line(args, expected):
    with pytest.raises(UsageError) as caught:
        parse(["--members", "[{name: a}]", *args])
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
