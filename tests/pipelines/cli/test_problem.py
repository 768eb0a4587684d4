"""Two classes, one of which is looked for, and ordered classes, from the command line to result.json."""

import json

import pytest

from tests.helpers.cli import MLP, run
from tests.helpers.manifests import write


@pytest.fixture
def two_classes(image_folder):
    """A manifest of cats and others."""
    rows = [
        {"path": path.relative_to(image_folder).as_posix(), "label": "cat" if path.parent.name == "cat" else "other"}
        for path in sorted(image_folder.rglob("*.png"))
    ]
    return write(image_folder / "two.csv", rows)


def result(root):
    return json.loads((root / "manifest/mlp/result.json").read_text())


def test_positive_class__its_metrics_and_threshold(two_classes, tmp_path, capsys):
    data = ("--data", "Manifest", "--data.path", two_classes, "--data.val_fraction", "0.4", "--data.augmentation", "[]")
    options = ("--data.positive_class", "cat", "--data.specificity", "0.8", "--data.test_fraction", "0.3")
    watched = ("--best_checkpoint.monitor", "val/sensitivity", "--best_checkpoint.mode", "max")
    assert run("fit", *data, *options, *MLP, *watched, root=tmp_path) == 0
    assert run("test", "--ckpt_path", tmp_path / "manifest/mlp/checkpoints/best.ckpt") == 0
    found = result(tmp_path)
    assert found["test"]["brier"] == pytest.approx(2 * found["test"]["brier_binary"])
    for name in ("sensitivity", "specificity", "f1_positive", "sensitivity_at_specificity"):
        assert {name} <= found["test"].keys() & found["val"].keys()
    point = found["test_threshold"]
    assert (point["class"], point["wanted"]) == ("cat", 0.8)
    assert point["chosen_on"] == {"split": "val", "samples": 14}
    assert point["sensitivity"]["samples"] + point["specificity"]["samples"] == found["samples"]["test"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "80 % specificity for cat, by probabilities above " in printed
    # another question to the same weights
    again = ("--data.ordinal", "true", "--data.positive_class", "other", "--run.name", "again")
    assert run("test", "--ckpt_path", tmp_path / "manifest/mlp/checkpoints/best.ckpt", *again) == 0
    asked = json.loads((tmp_path / "manifest/again/result.json").read_text())
    assert asked["test"]["specificity"] == found["test"]["sensitivity"]
    assert asked["test"]["mean_absolute_error"] == pytest.approx(1 - asked["test"]["accuracy"])
    assert asked["test_threshold"]["class"] == "other"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--best_checkpoint.monitor", "val/quadratic_kappa"), "val/quadratic_kappa needs --data.ordinal true"),
        (("--best_checkpoint.monitor", "val/f1_positive"), "val/f1_positive needs --data.positive_class"),
        (("--data.positive_class", "3"), "--data.positive_class is for data of 2 classes, not of 10"),
        (("--data.specificity", "0.9"), "--data.specificity needs --data.positive_class"),
        (("--data.positive_class", "3", "--data.specificity", "1"), "--data.specificity must be in (0, 1), not 1"),
    ],
)
def test_problem__options_that_do_not_fit(options, message, tmp_path, capsys):
    assert run("fit", *MLP, *options, root=tmp_path) == 2
    assert message in capsys.readouterr().err


def test_positive_class__one_that_is_not_there(two_classes, tmp_path, capsys):
    data = ("--data", "Manifest", "--data.path", two_classes, "--data.positive_class", "dog")
    assert run("fit", *data, *MLP, root=tmp_path) == 2
    assert "--data.positive_class: there is no class 'dog'" in capsys.readouterr().err
