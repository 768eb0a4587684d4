import json

import pytest
import torch
from safetensors.torch import save_file

from lightning_modules.checkpoint_io import file_sha256
from pipelines.cells import command as cells
from pipelines.cells.executors import LocalExecutor
from pipelines.cells.folder import CellError, locked
from pipelines.cells.job import CellFiles, Outcome, run_command
from pipelines.cli.errors import UsageError
from pipelines.main import main
from pipelines.stack import command
from pipelines.stack import command as stack
from tests.helpers.data import write_image_folder
from tests.helpers.runs import write_checkpoint

SHARED = {"data.stack_fraction": 0.2, "trainer.enable_progress_bar": False, "trainer.accelerator": "cpu"}


@pytest.fixture
def meta(monkeypatch):
    """What follows the cells is called, and does nothing."""
    called = []
    monkeypatch.setattr(
        "pipelines.stack.second_stage.second_stage", lambda plan, folder, *rest: called.append(folder) or 0
    )
    return called


def arguments(tmp_path, *members, **plan):
    path = tmp_path / "plan.yaml"
    options = {**SHARED, "trainer.max_epochs": 1}
    path.write_text(json.dumps({"members": list(members), "options": options, "retries": 0, **plan}))
    return ["stack", "--config", str(path), "--root", str(tmp_path / "runs")]


def finished(folder, name):
    """Leave what a finished cell leaves, as far as a rerun looks."""
    files = CellFiles(folder, name)
    files.run.checkpoints.mkdir(parents=True)
    write_checkpoint(files.run.last)
    files.write({"status": "done", "seconds": 5.0, "settings": {"trainer.max_epochs": 1}})


def test_main__runs_new_cells_alone_and_names_what_failed(tmp_path, meta, capsys):
    folder = tmp_path / "runs/stack"
    finished(folder, "old")
    old, new = {"name": "old", "options": {"model": "Linear"}}, {"name": "new", "options": {"model": "Linear"}}
    broken = {"name": "broken", "options": {"model": "Linear", "model.weights": str(tmp_path / "no.ckpt")}}
    assert main(arguments(tmp_path, old, broken, new)) == 2
    told = capsys.readouterr()
    assert "3 members, 3 cells, 1 of them done" in told.out
    assert "new: val/accuracy" in told.out
    assert "old:" not in told.out
    assert "broken failed; the end of" in told.err
    assert "no.ckpt" in told.err
    # the others went on, and nothing is stacked over some of the members
    record = CellFiles(folder, "new").read()
    assert (record["status"], record["attempts"], record["settings"]["model"]) == ("done", 1, "Linear")
    assert CellFiles(folder, "old").read()["seconds"] == 5.0
    assert meta == []


def test_main__nothing_is_left_to_do(tmp_path, meta, capsys):
    folder = tmp_path / "runs/stack"
    finished(folder, "old")
    assert main(arguments(tmp_path, {"name": "old", "options": {"model": "Linear"}})) == 0
    assert "1 cells, 1 of them done" in capsys.readouterr().out
    assert meta == [folder]


def test_main__changed_settings_are_refused(tmp_path, meta, capsys):
    finished(tmp_path / "runs/stack", "old")
    assert main(arguments(tmp_path, {"name": "old", "options": {"model": "Linear"}, "epochs": 7}, options=SHARED)) == 2
    refusal = "cell 'old' was trained with other settings: trainer.max_epochs was 1, is 7"
    assert refusal in capsys.readouterr().err
    assert meta == []
    # a dry run refuses it in the same words
    args = arguments(tmp_path, {"name": "old", "options": {"model": "Linear"}, "epochs": 7}, options=SHARED)
    assert main([*args, "--dry_run", "true"]) == 2
    assert refusal in capsys.readouterr().err
    assert main([*args, "--dry_run", "true", "--fresh", "true"]) == 0
    told = capsys.readouterr().out
    assert "1 cells, 0 of them done" in told
    assert f"{tmp_path}/runs/stack-2/" in told
    assert not (tmp_path / "runs/stack-2").exists()


def spoil(kind, folder):
    """Make a data set, and options over it, with which no stack can come to its end."""
    root = write_image_folder(folder / "images", per_class=6, splits=("all",)) / "all"
    files = {"data": "ImageFolder", "data.root": str(root), "data.stack_fraction": 0.2}
    if kind == "missing":
        return files | {"data.root": str(folder / "nowhere")}
    if kind == "one image":
        for path in sorted((root / "eel").iterdir())[1:]:
            path.unlink()
    return files | {"no test": {"data.test_fraction": 0.0}, "no meta": {"data.val_fraction": 0.0}}.get(kind, {})


@pytest.mark.parametrize("dry_run", ["true", "false"])
@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [
        ("missing", "holdout", "nowhere' is not a folder"),
        ("one image", "holdout", "class 'eel' has 1 distinct image(s)"),
        ("one image", "oof", "class 'eel' has 1 distinct image(s)"),
        ("no test", "holdout", "the data has none: set data.test_fraction above 0"),
        ("no meta", "val", "mode val needs samples: set data.val_fraction above 0"),
    ],
)
def test_main__data_that_no_stack_can_use_is_refused_before_any_cell(
    kind, mode, expected, dry_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(command, "run_queue", lambda *args: pytest.fail("a cell was started"))
    options = {**SHARED, "trainer.max_epochs": 1, **spoil(kind, tmp_path)}
    if mode != "holdout":
        del options["data.stack_fraction"]
    member = {"name": "one", "options": {"model": "Linear"}}
    args = arguments(tmp_path, member, mode=mode, num_folds=2, options=options)
    assert main([*args, "--dry_run", dry_run]) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_main__a_dry_run_writes_nothing(tmp_path, meta, capsys):
    args = arguments(tmp_path, {"name": "one", "options": {"model": "Linear"}})
    assert main([*args, "--dry_run", "true"]) == 0
    assert "1 cells, 0 of them done" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    assert meta == []


@pytest.mark.parametrize("status", ["done", "failed"])
def test_main__the_second_stage_is_a_job_where_the_cells_are(status, tmp_path, meta, monkeypatch, capsys):
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(json.dumps({"executor": {"class_path": "ParslExecutor", "init_args": {"max_blocks": 7}}}))
    folder = tmp_path / "runs/stack"
    finished(folder, "old")
    log = CellFiles(folder, "stack").log
    log.parent.mkdir()
    log.write_text("of an earlier one\n")
    asked = []

    def run_queue(jobs, executor, retries, where, report, run=None):
        if not jobs:
            return []
        asked.extend([*jobs, executor.max_blocks, run])
        with locked(folder, "stacked"):
            # the job can take hold of the folder
            log.open("a").write("a table [sic]\n")
        return [Outcome("stack", status, 1.0, "" if status == "done" else "stack failed; the end of stack.log:\nwhy")]

    monkeypatch.setattr(command, "run_queue", run_queue)
    args = arguments(tmp_path, {"name": "old", "options": {"model": "Linear"}})
    assert main([*args, "--config", str(cluster), "--executor.max_blocks", "3"]) == (0 if status == "done" else 2)
    told = capsys.readouterr()
    assert ("a table [sic]" in told.out) == (status == "done")
    assert ("why" in told.err) == (status == "failed")
    assert "earlier" not in told.out
    assert meta == []
    job, blocks, run = asked
    assert (blocks, run) == (3, run_command)
    again = command.parse(list(job.args[1:]))
    assert isinstance(again.executor, LocalExecutor)
    assert (again.root, [member.name for member in again.members]) == (str(tmp_path / "runs"), ["old"])


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--retriess", "3"], "unknown option '--retriess'; did you mean --retries?"),
        (["--config", "no.yaml"], "does not exist"),
        (["--executor", "Parsl"], "there is no CellExecutor 'Parsl' (known: LocalExecutor, ParslExecutor"),
        (["--executor.job", "3"], "unknown option --executor.job; did you mean jobs?"),
        (["--config", "{mdoe: oof}"], "unknown option mdoe; did you mean mode?"),
        (
            ["--config", "{reject: {acuracy: 0.9}}"],
            "'--reject.acuracy'; did you mean --reject.accuracy?",
        ),
        ([], "members"),
    ],
)
def test_main__what_is_wrong_is_named(args, expected, capsys):
    assert main(["stack", *args]) == 2
    assert expected in capsys.readouterr().err


def test_refuse_failures__names_all(tmp_path):
    outcomes = [
        Outcome("good", "done"),
        Outcome("bad", "failed", 1.0, "bad failed; the end of bad.log:\nout of memory"),
        Outcome("worse", "failed", 1.0, "worse failed; the end of worse.log:\nnan"),
        Outcome("killed", "stopped"),
    ]
    with pytest.raises(CellError) as raised:
        cells.refuse_failures(outcomes)
    message = str(raised.value)
    assert "out of memory" in message
    assert "worse.log" in message
    assert "killed" in message
    assert "3 of 4 cells failed" in message
    cells.refuse_failures(outcomes[:1])


def test_without_fresh__goes_on_in_the_folder_that_was_made(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps({"members": [{"name": "one"}]}))
    plan = command.parse(cells.without_fresh(["--config", str(path), "--fresh", "true"], tmp_path / "stack-2"))
    assert (plan.fresh, plan.experiment) == (False, "stack-2")


def test_parse__names_the_option_of_a_head(tmp_path, capsys):
    head = {"class_path": "LogisticHead", "init_args": {"C": -1.0}}
    assert main(arguments(tmp_path, {"name": "one", "options": {"model": "Linear"}}, heads=[head])) == 2
    assert "error: --heads: C must be above 0, not -1.0" in capsys.readouterr().err


def test_check__names_the_member_whose_trainer_cannot_work(tmp_path, capsys):
    member = {"name": "one", "options": {"model": "Linear", "trainer.accumulate_grad_batches": 0}}
    assert main(arguments(tmp_path, member)) == 2
    assert "member 'one': --trainer.accumulate_grad_batches must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("allowed", [False, True])
def test_main__weights_of_unknown_images_are_refused_before_any_cell(allowed, tmp_path, meta, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(command, "run_queue", lambda jobs, *more: ran.append(jobs) or [])
    save_file({"weight": torch.ones(1)}, tmp_path / "x.safetensors")
    member = {"name": "a", "options": {"model": "Linear", "model.weights": str(tmp_path / "x.safetensors")}}
    status = main(arguments(tmp_path, member, {"name": "b", "options": {"model": "Linear"}}, allow_unknown=allowed))
    assert (status, len(ran)) == ((0, 1) if allowed else (2, 0))
    if not allowed:
        error = capsys.readouterr().err
        assert f"a would be fitted on unknown images: {tmp_path}/x.safetensors" in error
        assert "option allow_unknown true" in error


def test_parse__options_are_what_a_command_line_would_hold(tmp_path):
    path = tmp_path / "plan.yaml"
    shared = "options: {data: Manifest, data.leave_out_source: 12e4, data.class_names: ['0', 'no']}\n"
    member = "members: [{name: '1e3', options: {model.hidden: [8, 16], trainer.benchmark: no, data.path: 1_000}}]\n"
    path.write_text(shared + member)
    (cell,) = stack.parse(["--config", str(path)]).cells
    assert cell.name == "1e3"
    wanted = ["--data=Manifest", "--data.leave_out_source=12e4", '--data.class_names=["0", "no"]']
    assert cell.settings == [*wanted, "--model.hidden=[8, 16]", "--trainer.benchmark=no", "--data.path=1_000"]
    (cell,) = stack.parse(["--config", str(path), "--options.data.leave_out_source", "4e12345"]).cells
    assert cell.settings[:2] == ["--data=Manifest", "--data.leave_out_source=4e12345"]
    with pytest.raises(UsageError, match=r"--options\.data\.path needs a value"):
        stack.parse(["--config", str(path), "--options.data.path", "--seed", "1"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("members: [{name: 1e3}]", "takes text, and without quotes YAML takes yours for the number 1000.0"),
        ("experiment: größe".encode("cp1252"), "plan.yaml, line 1: the text is not UTF-8; save the file as UTF-8"),
        ("- one", "plan.yaml, line 1: the file must hold options by name"),
        ("seed: 1\nseed: 2", "plan.yaml, line 2: the key 'seed' comes twice"),
    ],
)
def test_main__a_plan_that_cannot_be_read_is_named(tmp_path, capsys, text, said):
    (tmp_path / "plan.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["stack", "--config", str(tmp_path / "plan.yaml"), "--root", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def starting(name, start):
    return {"name": name, "options": {"model": "Linear"}, "starts_from": start}


def test_starts_from__is_trained_after_the_other_and_from_its_weights(tmp_path, meta, monkeypatch, capsys):
    folder, waves = tmp_path / "runs/stack", []

    def run(jobs, *rest):
        waves.append(jobs)
        for job in jobs:
            finished(folder, job.name)
        return [Outcome(job.name, "done", 1.0) for job in jobs]

    monkeypatch.setattr(command, "run_queue", run)
    args = arguments(tmp_path, starting("third", "second"), starting("second", "first"), starting("first", None))
    assert main(args) == 0
    assert [[job.name for job in jobs] for jobs in waves] == [["first"], ["second"], ["third"]]
    first, second, _ = (jobs[0] for jobs in waves)
    assert not [word for word in first.args if "weights" in word]
    assert f"--model.weights={folder}/first/checkpoints/last.ckpt" in second.args
    assert second.settings["model.weights (SHA-256)"] == file_sha256(folder / "first/checkpoints/last.ckpt")
    # other weights under the same name
    files = CellFiles(folder, "second")
    files.write(files.read() | {"settings": second.settings})
    other = folder / "first/checkpoints/last.ckpt"
    torch.save({**torch.load(other), "epoch": 7}, other)
    assert main(args) == 2
    assert "cell 'second' was trained with other settings: model.weights (SHA-256) was" in capsys.readouterr().err


def test_starts_from__is_not_trained_where_the_other_failed(tmp_path, meta, monkeypatch, capsys):
    failed = [Outcome("first", "failed", 1.0, "first failed")]
    monkeypatch.setattr(command, "run_queue", lambda jobs, *rest: failed if jobs else [])
    assert main(arguments(tmp_path, starting("first", None), starting("second", "first"))) == 2
    told = capsys.readouterr().err
    assert "second was not trained: first is not finished" in told
    assert "2 of 2 cells failed" in told
    assert meta == []
