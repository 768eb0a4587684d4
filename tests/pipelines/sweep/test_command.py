import json

import pytest

import francesinha
from pipelines.cells import process
from pipelines.cells.fit_parser import FitParser
from pipelines.cells.job import CellFiles
from pipelines.main import main
from pipelines.sweep.check import check, examples, given
from pipelines.sweep.command import parse
from pipelines.sweep.plan import Study, SweepPlan
from pipelines.sweep.states import states_of
from records.study_file import StudyFile

# takes the place of train.py: leaves what fit and test leave, as far as a sweep looks
SCRIPT = """
import json, pathlib, signal, sys, time
given = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
if sys.argv[1] == "fit":
    folder = pathlib.Path(given["run.root"]) / given["run.experiment"] / given["run.name"]
else:
    folder = pathlib.Path(sys.argv[sys.argv.index("--ckpt_path") + 1])
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
def save(): (folder / "checkpoints/last.ckpt").write_text("state")
with (folder.parent.parent / "calls").open("a") as calls: calls.write(f"{sys.argv[1]} {folder.name}\\n")
BODY
save()
path = folder / "result.json"
content = json.loads(path.read_text()) if path.is_file() else {}
path.write_text(json.dumps({**content, sys.argv[1]: {"accuracy": 0.5}}))
"""
AXES = {"model.dropout": [0, 0.5], "model.init": {"a": None, "b": {"options": {"model.input_size": 12}}}}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Runs a study whose cells run a script of the test's; returns its exit status."""
    monkeypatch.setattr(process, "POLL", 0.05)
    monkeypatch.setattr(process, "TRAIN", tmp_path / "train.py")
    monkeypatch.setattr("pipelines.main.make_page", lambda runs, out, *rest: out / "index.html")

    def run(*words, body="", **plan):
        (tmp_path / "train.py").write_text(SCRIPT.replace("BODY", body))
        path = tmp_path / "plan.yaml"
        cold = {"class_path": "LocalExecutor", "init_args": {"warm": False}}
        shared = {"axes": AXES, "executor": cold, "retries": 0, "experiment": "x", "root": str(tmp_path / "runs")}
        path.write_text(json.dumps({**shared, **plan}))
        return main(["sweep", "--config", str(path), *words])

    return run


def calls(tmp_path):
    path = tmp_path / "runs/calls"
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    path.unlink(missing_ok=True)
    return sorted(lines)


def test_main__runs_new_cells_alone(sweep, tmp_path, capsys):
    assert sweep() == 0
    first = calls(tmp_path)
    assert [line for line in first if line.startswith("fit")] == [
        "fit dropout0-a",
        "fit dropout0-b",
        "fit dropout0.5-a",
        "fit dropout0.5-b",
    ]
    assert len(first) == 8
    assert "4 cells, 4 planned" in capsys.readouterr().out
    assert sweep() == 0
    assert calls(tmp_path) == []
    # a further value of an axis
    assert sweep(axes={**AXES, "model.dropout": [0.9, 0, 0.5]}) == 0
    assert calls(tmp_path) == ["fit dropout0.9-a", "fit dropout0.9-b", "test dropout0.9-a", "test dropout0.9-b"]
    found = StudyFile.read(tmp_path / "runs/x")
    assert found.axes == {"model.dropout": ["0.9", "0", "0.5"], "model.init": ["a", "b"]}
    assert found.labels("dropout0.9-b") == {"model.dropout": "0.9", "model.init": "b"}


def test_main__a_study_on_validation_tests_nothing(sweep, tmp_path):
    assert sweep(split="val") == 0
    assert {line.split()[0] for line in calls(tmp_path)} == {"fit"}
    # and is only tested once that is asked for
    assert sweep() == 0
    assert {line.split()[0] for line in calls(tmp_path)} == {"test"}


def test_main__what_fails_is_named_and_gone_on_with(sweep, tmp_path, capsys):
    crash = "if folder.name == 'dropout0-b': print('it broke'); sys.exit(1)"
    assert sweep(body=crash) == 2
    told = capsys.readouterr()
    assert "dropout0-b failed; the end of" in told.err
    assert "it broke" in told.err
    assert "1 of 4 cells failed; run the same command again to continue" in told.err
    calls(tmp_path)
    assert sweep("--list_cells", "true") == 0
    assert sorted(capsys.readouterr().out.split("\n")[:-1]) == [
        "done       dropout0-a",
        "done       dropout0.5-a",
        "done       dropout0.5-b",
        "failed     dropout0-b",
    ]
    assert sweep() == 0
    assert calls(tmp_path) == ["fit dropout0-b", "test dropout0-b"]


def test_main__a_cell_that_hangs_is_ended(sweep, tmp_path, capsys):
    hang = "if folder.name == 'dropout0-b': print('waits', flush=True); time.sleep(60)"
    # long enough for the others, which end at once
    assert sweep("--only.model.init", "b", body=hang, time_limit=4) == 2
    assert "dropout0-b failed: it ran for longer than time_limit 4 s" in capsys.readouterr().err
    assert "test dropout0.5-b" in calls(tmp_path)


def test_main__a_damaged_cell_leaves_the_others_as_they_are(sweep, tmp_path, capsys):
    assert sweep() == 0
    calls(tmp_path)
    record = CellFiles(tmp_path / "runs/x", "dropout0-b").record
    record.write_text("{")
    assert sweep(axes={**AXES, "model.dropout": [0, 0.5, 0.9]}) == 2
    assert "dropout0-b was not run: " in capsys.readouterr().err
    assert [line for line in calls(tmp_path) if line.startswith("fit")] == ["fit dropout0.9-a", "fit dropout0.9-b"]
    assert record.read_text() == "{"


def test_main__ctrl_c_says_how_to_go_on(sweep, tmp_path, capsys, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.sweep.command.run_queue", interrupt)
    assert sweep() == 130
    assert "continue:  python train.py sweep --config" in capsys.readouterr().out


def test_main__only_some_cells(sweep, tmp_path, capsys):
    assert sweep("--only.model.init", "b", "--only.model.dropout=0,0.5") == 0
    assert [line for line in calls(tmp_path) if line.startswith("fit")] == ["fit dropout0-b", "fit dropout0.5-b"]
    assert sweep("--dry_run", "true") == 0
    assert "4 cells: 2 done, 2 planned" in capsys.readouterr().out


def test_main__changed_settings_are_refused(sweep, tmp_path, capsys):
    assert sweep(options={"trainer.max_epochs": 2, "model.norm": "batch"}, axes={"model": ["SmallCNN"]}) != 0
    capsys.readouterr()
    assert sweep(options={"trainer.max_epochs": 2}) == 0
    calls(tmp_path)
    # one that is no longer given counts too: the default takes its place
    assert sweep(options={"data.batch_size": 32}) == 2
    told = capsys.readouterr().err
    assert "trainer.max_epochs was 2, is 30; data.batch_size was its default, is 32" in told
    assert "3 other cells were trained with other settings" in told
    assert calls(tmp_path) == []


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"axes": {"model.optimizer.lrr": [1]}}, "unknown option --model.optimizer.lrr; did you mean lr?"),
        (
            {"axes": {"trainer.max_epoch": [1, 2]}},
            "unknown option '--trainer.max_epoch'; did you mean --trainer.max_epochs?",
        ),
        ({"axes": {"data.val_fraction": [0.1, 1.5]}}, "--data.val_fraction must be in [0, 1), not 1.5"),
        ({"axes": {"model": {"a": "no.yaml"}}}, "no.yaml' does not exist"),
        ({"seedz": 3}, "unknown option seedz; did you mean seeds?"),
    ],
)
def test_main__wrong_axes_are_told_before_anything_runs(sweep, tmp_path, capsys, plan, message):
    assert sweep(**plan) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_check__names_the_cells_that_it_looked_at():
    study = Study.of(SweepPlan(axes={"model": ["MLP", "Linear"], "model.hidden": [[8]]}))
    with pytest.raises(
        ValueError, match=r"unknown option --model.hidden.* \(1 cell looked at, such as Linear-hidden8\)"
    ):
        check(study, FitParser())


def test_examples__hold_each_value_and_each_kind():
    study = Study.of(
        SweepPlan(
            axes={"model": ["Linear", "MLP"], "data.sampler": ["sqrt", "balanced"], "x": list(range(10))}, seeds=5
        )
    )
    found = examples(study)
    assert len(study.cells) == 200
    assert len(found) == 12
    for axis in study.axes:
        labels = {study.labels[cell.name][axis.name] for cell in found}
        assert labels == {value.label for value in axis.values}
    assert {(cell.options["model"], cell.options["data.sampler"]) for cell in found} == {
        (model, sampler) for model in ("Linear", "MLP") for sampler in ("sqrt", "balanced")
    }


def test_states_of__ten_thousand_cells_are_looked_at_by_their_records_alone(tmp_path):
    plan = SweepPlan(axes={"a": list(range(100)), "b": list(range(100))})
    study = Study.of(plan)
    settings = given(study.cells)
    assert len(examples(study)) == 100
    done = CellFiles(tmp_path, "a7-b9")
    done.run.checkpoints.mkdir(parents=True)
    done.run.last.touch()
    done.write({"status": "done", "seconds": 1.0, "settings": settings["a7-b9"]})
    states = states_of(study.cells, tmp_path, settings, "fit")
    assert len(states) == 10_000
    assert [name for name, state in states.items() if state.word == "done"] == ["a7-b9"]


def test_parse__takes_options_as_typed():
    plan = parse(["--options.model.name", "12e4", "--only.model", "a,b", "--axes", '{"model": {"a": null, "b": null}}'])
    assert plan.options == {"model.name": "12e4"}
    assert plan.only == {"model": ["a", "b"]}


def test_sweep__from_python(tmp_path, sweep):
    # the script that stands for train.py
    assert sweep("--dry_run", "true") == 0
    cold = {"class_path": "LocalExecutor", "init_args": {"warm": False}}
    plan = {"axes": {"model.dropout": [0, 0.5]}, "executor": cold, "page": False, "root": tmp_path / "runs"}
    assert francesinha.sweep(plan) == tmp_path / "runs/sweep"
    assert StudyFile.read(tmp_path / "runs/sweep").axes == {"model.dropout": ["0", "0.5"]}
    with pytest.raises(francesinha.CommandError, match=r"did you mean --trainer.max_epochs\?"):
        francesinha.sweep({**plan, "axes": {"trainer.max_epoch": [1]}})
