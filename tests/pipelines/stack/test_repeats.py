"""A stack trained several times: what its gain owes to the images, and what to the seeds."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from safetensors.torch import load_file

from measures.repeats import corrected_interval
from pipelines.main import main
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.plan_check import check
from pipelines.stack.repeats import Gains, fold_intervals, repeated_plans
from pipelines.stack.second_stage import second_stage
from tests.helpers.second_stage import make, train


@pytest.fixture(scope="module")
def oof(tmp_path_factory):
    """Two folds of a member, trained twice and stacked."""
    root = tmp_path_factory.mktemp("repeats")
    options = {"trainer.max_epochs": 1, "data.subsample": 0.3}
    members = [Member("linear", ["configs/model/linear.yaml"], seed=1)]
    plan = make(root, members=members, mode="oof", num_folds=2, repeats=2, options=options)
    (again,) = repeats = repeated_plans(plan, check(plan))
    for each in (plan, again):
        train(each, root / "x")
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        # pictures take most of the time, and nothing of the repeats is in them
        patch.setattr("pipelines.stack.second_stage.draw_stack", lambda stack: False)
        assert second_stage(plan, root / "x", Console(file=text, width=200), None, repeats) == 0
    return plan, again, root / "x", text.getvalue()


def test_repeated_plans__other_seeds_folds_and_folders():
    members = [Member("a", ["configs/model/mlp.yaml"], seed=7), Member("b", options={"seed_everything": 4})]
    plan = StackPlan(members, mode="oof", num_folds=2, repeats=3, options={"data.split_seed": 5, "seed_everything": 1})
    members[1].options["model"] = "Linear"
    second, third = repeated_plans(plan, check(plan))
    assert [cell.name for cell in third.cells] == [f"{m}-repeat3-fold{n}" for m in ("a", "b") for n in range(2)]
    assert not {cell.name for cell in plan.cells} & {cell.name for cell in (*second.cells, *third.cells)}
    settings = check(third).settings
    assert {settings[f"{m}-repeat3-fold0"]["seed_everything"] for m in "ab"} == {9, 6}
    assert {own["data.split_seed"] for own in settings.values()} == {7}
    assert repeated_plans(replace(plan, repeats=1), check(plan)) == []


def test_repeated_plans__the_test_split_stays():
    options = {"data": "ImageFolder", "data.root": "x", "data.test_fraction": 0.2, "data.stack_fraction": 0.2}
    plan = StackPlan([Member("a", options={"model": "MLP"})], options=options, repeats=2)
    (again,) = repeated_plans(plan, check(plan))
    settings = check(again).settings["a-repeat2"]
    assert (settings["seed_everything"], settings["data.split_seed"]) == (1, 0)


def test_plan__a_member_may_not_have_the_name_of_a_repeat():
    with pytest.raises(ValueError, match="'a-repeat2': a repeat of another member has this name"):
        StackPlan([Member("a"), Member("a-repeat2")], repeats=2)
    with pytest.raises(ValueError, match="--repeats must be at least 1"):
        StackPlan([Member("a")], repeats=0)
    StackPlan([Member("a"), Member("a-repeat2")])


def test_repeats__components_of_the_gain(oof):
    _, _, folder, printed = oof
    result = json.loads((folder / "stack/result.json").read_text())
    found = result["stack"]["repeats"]
    assert found["sentence"] in " ".join(printed.split())
    assert (found["repeats"], len(found["metrics"]["accuracy"]["by_repeat"])) == (2, 2)
    head, member = found["head"], found["member"]
    assert found["recommended"] == (result["stack"]["recommendation"]["model"] == head)
    rows = {row["name"]: row["metrics"] for row in result["stack"]["models"]}
    for metric, sign in (("accuracy", 1), ("nll", -1)):
        gain = sign * (rows[head][metric]["value"] - rows[member][metric]["value"])
        assert found["metrics"][metric]["by_repeat"][0] == pytest.approx(gain, abs=1e-6)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(found["metrics"]["accuracy"]["by_repeat"]))
    # two folds in each of two repeats
    values = found["folds"]["accuracy"]["by_fold"]
    assert len(values) == 4
    assert (found["folds"]["accuracy"]["low"], found["folds"]["accuracy"]["high"]) == corrected_interval(values, 1.0)


def test_repeats__are_looks_at_the_test_split(oof):
    _, _, folder, _ = oof
    lines = [
        json.loads(line) for path in (folder.parent / ".ledger").iterdir() for line in path.read_text().splitlines()
    ]
    assert {"linear", "linear-repeat2", "logistic"} <= set(lines[-1]["models"])


def test_fold_intervals__only_of_folds():
    gains = Gains({}, {"accuracy": [0.01, 0.02], "nll": [0.1, 0.2]})
    held_out = StackPlan([Member("a")])
    assert fold_intervals(held_out, [gains, gains]) == {}
    found = fold_intervals(replace(held_out, mode="oof", num_folds=5), [gains, gains])
    low, high = corrected_interval([0.01, 0.02, 0.01, 0.02], 0.25)
    assert found["accuracy"] == {"value": 0.015, "low": low, "high": high, "by_fold": [0.01, 0.02, 0.01, 0.02]}


def test_repeats__are_trained_on_other_folds(oof):
    _, _, folder, _ = oof
    held = [
        set(load_file(folder / f"{m}-fold0/predictions.safetensors")["val/id"].tolist())
        for m in ("linear", "linear-repeat2")
    ]
    assert held[0] != held[1]
    configs = [
        json.loads((folder / f"{name}/result.json").read_text()) for name in ("linear-fold0", "linear-repeat2-fold0")
    ]
    assert [config["seed"] for config in configs] == [1, 2]
    assert [config["split_seed"] for config in configs] == [0, 1]


def test_repeats__are_a_section_of_the_page(oof, tmp_path):
    _, _, folder, _ = oof
    assert main(["report", str(folder), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    found = json.loads((folder / "stack/result.json").read_text())["stack"]["repeats"]
    assert found["sentence"] in page
    assert "gain over repeats" in page
    # cells of a finished stack are not missing
    assert "linear-repeat2-fold0" not in page
