import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.cli.changed_options import changed_options, differences, own_defaults, short_names
from tests.helpers.cli import MLP, run


@pytest.fixture
def shown(monkeypatch):
    """What runs of this test show."""
    found = []

    def keep(parser, resolved):
        found.append(changed_options(parser, resolved))
        return found[-1]

    monkeypatch.setattr("pipelines.cli.image_cli.changed_options", keep)
    return found


def test_changed_options__short_names_of_what_differs(tmp_path, shown):
    optimizer = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1")
    assert run("fit", *MLP, *optimizer, "--data.batch_size", "96", root=tmp_path) == 0
    assert shown == [
        {
            "max_epochs": 2,
            "model": "MLP",
            "hidden": [16],
            "optimizer": "SGD",
            "lr": 0.1,
            "data": "Digits",
            "batch_size": 96,
        }
    ]
    (events,) = (tmp_path / "digits/mlp").glob("events.*")
    known = EventAccumulator(str(events)).Reload().summary_metadata["_hparams_/session_start_info"]
    assert b"batch_size" in known.plugin_data.content
    assert b"num_workers" not in known.plugin_data.content


def test_differences__of_another_class_those_that_it_changes():
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.001, "momentum": 0.9}}
    default = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}
    found = differences({"model": {"optimizer": optimizer}}, {"model": {"optimizer": default}})
    assert found == {"model.optimizer": "SGD", "model.optimizer.momentum": 0.9}
    assert differences({"optimizer": default}, {"optimizer": default}) == {}


def test_own_defaults__of_plain_types():
    assert own_defaults("torch.optim.AdamW")["betas"] == [0.9, 0.999]


def test_short_names__are_unlike_each_other():
    names = ["a", "b.a", "c.b.a", "d.e"]
    assert short_names(names) == {"a": "a", "b.a": "b.a", "c.b.a": "c.b.a", "d.e": "e"}
