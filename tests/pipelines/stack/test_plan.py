import json
import subprocess
import sys

import pytest

from pipelines.stack import command
from pipelines.stack.plan import Member, StackPlan
from records.versions import REPOSITORY


def members(*names, **options):
    return [Member(name, **options) for name in names]


def test_cells__one_a_member():
    plan = StackPlan(members("one", "two"), fragments=["a.yaml"], options={"data.stack_fraction": 0.2})
    assert [cell.name for cell in plan.cells] == ["one", "two"]
    assert all(cell.fold is None and not cell.refit for cell in plan.cells)
    assert plan.held_out_cells(plan.members[0]) == plan.tested_cells(plan.members[0]) == [plan.cells[0]]


def test_cells__oof_holds_each_fold_out_for_the_heads():
    plan = StackPlan(members("one"), mode="oof", num_folds=3)
    assert [cell.name for cell in plan.cells] == ["one-fold0", "one-fold1", "one-fold2"]
    assert [cell.options["data.fold"] for cell in plan.cells] == [0, 1, 2]
    assert all(cell.options["data.num_folds"] == 3 for cell in plan.cells)
    assert all(cell.options["data.held_out"] == "stack" for cell in plan.cells)
    assert plan.held_out_cells(plan.members[0]) == plan.tested_cells(plan.members[0]) == plan.cells


def test_cells__a_refit_holds_nothing_out_and_is_tested():
    plan = StackPlan(members("one"), mode="oof", num_folds=2, test_with="refit")
    *folds, refit = plan.cells
    assert refit.name == "one-refit"
    assert not any(name.startswith("data.") for name in refit.options)
    assert plan.held_out_cells(plan.members[0]) == folds
    assert plan.tested_cells(plan.members[0]) == [refit]


def test_cells__a_costly_member_is_trained_for_one_fold():
    costly = Member("costly", folds=False)
    plan = StackPlan([*members("cheap"), costly], mode="oof", num_folds=4)
    assert [cell.name for cell in plan.cells_of(costly)] == ["costly-fold0"]
    assert len(plan.cells) == 5


def test_cells__start_from_the_same_fold_of_another_member():
    own = Member("head", options={"model.freeze": "backbone"}, starts_from="whole")
    options = {"model.weights": "a.pth"}
    plan = StackPlan([*members("whole"), own], mode="oof", num_folds=2, test_with="refit", options=options)
    assert [cell.starts_from for cell in plan.cells_of(own)] == ["whole-fold0", "whole-fold1", "whole-refit"]
    assert all("model.weights" not in cell.options for cell in plan.cells_of(own))
    assert all(cell.options["model.weights"] == "a.pth" for cell in plan.cells_of(plan.members[0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": members("a", starts_from="b")}, "member 'a': starts_from 'b' is no member"),
        ({"members": members("a", "b", starts_from="a")}, "member 'a': starts_from 'a' leads back to it"),
        ({"members": [Member("a", starts_from="b"), Member("b", starts_from="a")]}, "'a': starts_from 'b' leads back"),
        ({"members": [*members("a"), *members("b", starts_from="a")], "only": ["b"]}, "'b': starts_from 'a' is no mem"),
        ({"members": [*members("a"), *members("b", starts_from="a")], "study": True}, "cannot be in a study of stacks"),
        (
            {"members": [Member("a", folds=False), Member("b", starts_from="a")], "mode": "oof"},
            "member 'b': starts_from 'a' has one fold alone: set folds false here too",
        ),
    ],
)
def test_starts_from__must_lead_to_a_member(changes, message):
    with pytest.raises(ValueError, match=message):
        StackPlan(**changes)


def test_starts_from__and_weights_exclude_each_other():
    with pytest.raises(ValueError, match="starts_from and model.weights in options both say where to start from"):
        Member("a", options={"model.weights": "a.pth"}, starts_from="b")


def test_command__is_an_ordinary_fit(tmp_path):
    member = Member("one", ["b.yaml"], {"model.hidden": [8], "data": "Digits"}, seed=7, epochs=3)
    plan = StackPlan([member], fragments=["a.yaml"], options={"data.stack_fraction": 0.2, "trainer.max_epochs": 9})
    args = plan.cells[0].command(tmp_path / "x")
    assert args[:5] == ["fit", "--config", "a.yaml", "--config", "b.yaml"]
    assert {"--model.hidden=[8]", "--data=Digits", "--data.stack_fraction=0.2", "--seed_everything=7"} <= set(args)
    # the member's own wins
    assert [word for word in args if "max_epochs" in word] == ["--trainer.max_epochs=3"]
    assert args[-3:] == [f"--run.root={tmp_path}", "--run.experiment=x", "--run.name=one"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": []}, "members must name at least one"),
        ({"heads": []}, "heads must name at least one"),
        ({"members": members("one", "one")}, "two cells are named 'one'"),
        ({"members": members("a", "a-fold1"), "mode": "val"}, None),
        ({"members": members("a/b")}, "plain folder name"),
        ({"members": members("stack")}, "member 'stack': the folder of this name"),
        ({"stack_name": "logs"}, "stack_name 'logs': the folder of this name"),
        ({"stack_name": "one-fold0", "mode": "oof"}, "stack_name 'one-fold0': the folder of this name"),
        ({"stack_name": "one-refit", "mode": "oof", "test_with": "refit"}, "stack_name 'one-refit': the folder"),
        ({"mode": "train"}, "mode train fits the heads on .*: set allow_leakage true"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"num_folds": 1}, "num_folds must be at least 2"),
        ({"test_with": "refit"}, "test_with refit needs mode oof"),
        ({"members": members("one", folds=False)}, "member 'one': folds false needs mode oof"),
        ({"options": {"data.num_folds": 3}, "mode": "oof"}, "data.num_folds in options and mode oof cannot be given"),
        ({"members": members("one", options={"data.fold": 1})}, "member 'one': data.fold in options and mode holdout"),
        ({"options": {"run": {"name": "x"}}}, "run.name in options is set by the plan"),
        ({"options": {"ckpt_path": "last"}}, "ckpt_path in options is set by the plan"),
    ],
)
def test_plan__conflicts_are_refused(changes, message):
    if message is None:
        StackPlan(**changes)
    else:
        with pytest.raises(ValueError, match=message):
            StackPlan(**{"members": members("one", "two"), **changes})


@pytest.mark.parametrize("name", ["mean", "tuned_mean"])
def test_plan__a_member_named_as_a_head_of_every_stack_is_refused(name):
    with pytest.raises(ValueError, match=f"member '{name}': a head of this name"):
        StackPlan(members=members("one", name))


@pytest.mark.parametrize(("name", "option"), [("seed", "seed_everything"), ("epochs", "trainer.max_epochs")])
def test_member__one_setting_by_two_names_is_refused(name, option):
    with pytest.raises(ValueError, match=f"member 'one': {name} and {option} in options"):
        Member("one", options={option: 3}, **{name: 3})


def test_parse__an_option_of_the_command_line_wins_over_the_plans(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps({"members": [{"name": "one"}], "options": {"data.stack_fraction": 0.2}}))
    plan = command.parse(["--config", str(path), "--options.data.stack_fraction", "0.3"])
    assert "--data.stack_fraction=0.3" in plan.cells[0].settings
    assert [type(head).__name__ for head in plan.heads] == ["LogisticHead"]


def test_parse__a_later_config_chooses_the_executor_alone(tmp_path):
    path, cluster = tmp_path / "plan.yaml", tmp_path / "cluster.yaml"
    path.write_text(json.dumps({"members": [{"name": "one"}], "retries": 3}))
    cluster.write_text(json.dumps({"executor": {"class_path": "ParslExecutor", "init_args": {"max_blocks": 7}}}))
    plan = command.parse(["--config", str(path), "--config", str(cluster)])
    assert (plan.executor.max_blocks, plan.retries) == (7, 3)


def test_cells_module__is_light():
    """Workers import it for each cell, and need none of what trains."""
    heavy = "[m for m in ('torch', 'lightning', 'numpy', 'rich') if m in sys.modules]"
    program = f"import sys, pipelines.cells.job; print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"
