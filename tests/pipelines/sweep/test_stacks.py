import json

import pytest

from pipelines.cells import process, queue
from pipelines.main import main
from pipelines.stack.command import Planner
from pipelines.sweep.plan import SweepPlan
from records.study_file import StudyFile

# takes the place of train.py: leaves what fit and stack leave, as far as a sweep looks
SCRIPT = """
import json, pathlib, sys
given = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
name = "run." if sys.argv[1] == "fit" else ""
own = given["run.name"] if name else given["stack_name"]
folder = pathlib.Path(given[name + "root"]) / given[name + "experiment"] / own
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
with (folder.parent.parent / "calls").open("a") as calls: calls.write(f"{sys.argv[1]} {own}\\n")
BODY
(folder / ("checkpoints/last.ckpt" if name else "checkpoints/stack.ckpt")).write_text("state")
content = {"fit": {"seconds": 1.0}, **({} if name else {"test": {"accuracy": 0.5}})}
(folder / "result.json").write_text(json.dumps(content))
"""
STACK = {
    "mode": "oof",
    "num_folds": 2,
    "members": [{"name": "a", "fragments": ["configs/model/mlp.yaml"]}, {"name": "b", "options": {"model": "Linear"}}],
}
AXES = {
    "members": {"both": {}, "alone": {"options": {"only": ["a"]}}},
    "heads": {"mean": {"options": {"heads": [{"class_path": "VoteHead"}]}}, "logistic": {}},
}


@pytest.fixture(scope="module")
def planner():
    """Looks at each run of a member once in all tests."""
    return Planner()


@pytest.fixture
def study(tmp_path, monkeypatch, planner):
    """Runs a study of stacks whose cells run a script of the test's; returns its exit status."""
    monkeypatch.setattr(process, "POLL", 0.02)
    monkeypatch.setattr(queue, "REFRESH", 0.02)
    monkeypatch.setattr(process, "TRAIN", tmp_path / "train.py")
    monkeypatch.setattr("pipelines.main.stack_planner", lambda: planner)
    monkeypatch.setattr("pipelines.main.make_page", lambda runs, out, *rest: out / "index.html")

    def run(*words, body="", stack=(), **plan):
        (tmp_path / "train.py").write_text(SCRIPT.replace("BODY", body))
        (tmp_path / "stack.yaml").write_text(json.dumps({**STACK, **dict(stack)}))
        cold = {"class_path": "LocalExecutor", "init_args": {"warm": False, "jobs": 2}}
        shared = {"stack": str(tmp_path / "stack.yaml"), "axes": AXES, "executor": cold, "retries": 0}
        path = tmp_path / "plan.yaml"
        path.write_text(json.dumps({"experiment": "x", "root": str(tmp_path / "runs"), **shared, **plan}))
        return main(["sweep", "--config", str(path), *words])

    return run


def calls(tmp_path):
    path = tmp_path / "runs/calls"
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    path.unlink(missing_ok=True)
    return lines


def test_main__stacks_share_the_runs_of_their_members(study, tmp_path, capsys):
    assert study() == 0
    ran = calls(tmp_path)
    fits = [line.partition("-")[0] + line[-13:-7] for line in ran[:4]]
    assert sorted(fits) == ["fit a-fold0", "fit a-fold1", "fit b-fold0", "fit b-fold1"]
    assert ran[4:] == ["stack both-mean", "stack both-logistic", "stack alone-mean", "stack alone-logistic"]
    assert "4 stacks over 4 runs of members, 0 of them done" in capsys.readouterr().out
    assert StudyFile.read(tmp_path / "runs/x").labels("alone-mean") == {"members": "alone", "heads": "mean"}
    assert study() == 0
    assert calls(tmp_path) == []
    # other folds are other runs of members
    assert study(axes={"num_folds": [2, 3]}) == 0
    ran = calls(tmp_path)
    assert [line.split()[0] for line in ran] == ["fit"] * 6 + ["stack"] * 2


def test_main__a_stack_of_another_plan_is_refused(study, tmp_path, capsys):
    assert study(axes={}) == 0
    calls(tmp_path)
    assert study(axes={}, stack={"calibrate": False}) == 2
    assert "calibrate was its default, is False" in capsys.readouterr().err
    assert calls(tmp_path) == []


def test_main__what_fails_is_gone_on_with(study, tmp_path, capsys):
    axes = {"members": AXES["members"]}
    assert study(axes=axes, body="if own == 'both': print('it broke'); sys.exit(1)") == 2
    assert "both failed; the end of" in capsys.readouterr().err
    calls(tmp_path)
    assert study("--list_cells", "true", axes=axes) == 0
    assert "failed     both" in capsys.readouterr().out
    assert study(axes=axes) == 0
    assert calls(tmp_path) == ["stack both"]


def test_main__a_member_that_fails_is_named_before_any_stack(study, tmp_path, capsys):
    assert study(axes={}, body="if own.startswith('b-fold1'): sys.exit(1)") == 2
    assert "1 of 4 cells failed" in capsys.readouterr().err
    assert not any(line.startswith("stack") for line in calls(tmp_path))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"axes": {"num_fold": [2, 3]}}, "unknown option '--num_fold'; did you mean --num_folds? (2 stacks"),
        ({"axes": {"options.model.widt": [2]}}, "unknown option --model.widt"),
        ({"axes": {"a": {"x": {"options": {"only": ["c"]}}}}}, "only: there is no member 'c'"),
        ({"axes": {"stack_name": ["x"]}}, "stack_name of a stack is set by the study"),
        ({"seeds": 2}, "seeds and stack cannot be given together"),
        ({"split": "val"}, "a stack is measured on test"),
    ],
)
def test_main__wrong_plans_are_told_before_anything_runs(study, tmp_path, capsys, plan, message):
    assert study(**plan) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_planner__names_runs_by_their_settings(tmp_path, planner):
    path = tmp_path / "stack.yaml"
    path.write_text(json.dumps(STACK))

    def names(*words):
        return [cell.name for cell in planner(["--config", str(path), "--study=true", *words])[0]]

    assert set(names("--only=[a]")) < set(names())
    assert not set(names("--num_folds=3")) & set(names())
    # heads change no member
    assert names("--heads=[{class_path: VoteHead}]") == names()


def test_plan__a_stack_needs_no_axes():
    assert SweepPlan(stack="x.yaml").stack == "x.yaml"
