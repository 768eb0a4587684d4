from common.settings import settings_of
from pipelines.report.study import axes_of


def test_settings_of__names_of_the_command_line():
    config = {
        "seed_everything": 1,
        "trainer": {"max_epochs": 3, "enable_progress_bar": True, "log_every_n_steps": 10},
        "figures": {"draw": False},
        "model": {
            "class_path": "lightning_modules.SmallCNN",
            "init_args": {"loss": {"class_path": "a.b.Focal", "init_args": {"gamma": 2.0}}, "data_info": {"mean": [1]}},
        },
        "run": {"name": "x"},
    }
    assert settings_of(config) == {
        "seed_everything": "1",
        "trainer.max_epochs": "3",
        "model": "SmallCNN",
        "model.loss": "Focal",
        "model.loss.gamma": "2.0",
    }


def test_axes_of__what_varies_together_is_one_axis_and_the_seed_is_last():
    settings = [
        {"seed_everything": "0", "loss": "focal", "gamma": "2", "lr": "0.1", "same": "x"},
        {"seed_everything": "1", "loss": "focal", "gamma": "2", "lr": "0.01", "same": "x"},
        {"seed_everything": "1", "loss": "ce", "lr": "0.01", "same": "x"},
        {"seed_everything": "0", "loss": "ce", "lr": "10", "same": "x"},
    ]
    axes = axes_of(settings)
    assert [(axis.name, axis.together) for axis in axes] == [("loss", ["gamma"]), ("lr", []), ("seed_everything", [])]
    assert [axis.name for axis in axes_of([{"seed_everything": str(k), "lr": str(k)} for k in range(3)])] == ["lr"]
    # sorted by size, not by letter
    assert axes[1].levels == ["0.01", "0.1", "10"]


def test_axes_of__an_option_that_some_do_not_have():
    axes = axes_of([{"a": "1"}, {"a": "x"}, {}])
    assert axes[0].levels == ["1", "x", None]


def test_axes_of__runs_that_are_alike():
    assert axes_of([{"a": "1"}, {"a": "1"}]) == axes_of([]) == axes_of([{}]) == []


def test_axes_of__what_comes_along_with_a_class_is_no_axis():
    adam = {"optimizer": "AdamW", "optimizer.betas": "[0.9, 0.999]", "optimizer.lr": "0.1"}
    settings = [
        adam,
        adam | {"optimizer": "Adam"},
        adam | {"optimizer.lr": "0.3"},
        {"optimizer": "SGD", "optimizer.momentum": "0.9", "optimizer.lr": "0.1"},
        adam | {"data.sampler": "balanced"},
        adam | {"data.mixup": "0.2"},
    ]
    axes = axes_of(settings)
    assert [axis.name for axis in axes] == ["optimizer", "optimizer.lr", "data.sampler", "data.mixup"]
    assert axes[0].together == ["optimizer.betas", "optimizer.momentum"]
