"""Data that has changed since a model was trained on it is never taken for the same."""

import csv
import io
import json
import shutil

import pytest
import torch
from rich.console import Console

from datamodules.data_record import DataChangedError
from ensembling.heads.fitting import LogisticHead
from pipelines.cells.job import CellFiles
from pipelines.cli.configured_data import build_data
from pipelines.main import main
from pipelines.stack.data import refuse_changed_cells
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.second_stage import second_stage
from tests.helpers.cli import config, result, run
from tests.helpers.data import write_image_folder

CLASSES = ("cat", "dog", "eel")
MLP = ("--model", "MLP", "--model.hidden", "[8]", "--trainer.max_epochs", "1")


def write_manifest(folder, change=lambda rows: rows):
    """List the images with their labels, splits and groups, after a change to the rows."""
    rows = []
    for path in sorted((folder / "images").rglob("*.png")):
        split, label, _ = path.relative_to(folder / "images").parts
        # every fourth training image is for validation
        part = "val" if split == "train" and int(path.stem) % 4 == 0 else split
        rows.append([f"images/{path.relative_to(folder / 'images')}", label, part, f"p{int(path.stem) % 18}"])
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        writer.writerows(change(rows))


def relabelled(rows, split="train", count=3):
    """Call the first cats of a split dogs, and as many dogs cats."""
    cats, dogs = ([r for r in rows if r[1] == kind and r[2] == split][:count] for kind in ("cat", "dog"))
    for row in cats:
        row[1] = "dog"
    for row in dogs:
        row[1] = "cat"
    return rows


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run on a manifest, with all that belongs to it below one folder."""
    root = tmp_path_factory.mktemp("original")
    write_image_folder(root / "images", per_class=18)
    write_manifest(root)
    assert run("fit", "--data", "Manifest", "--data.path", root / "images.csv", *MLP, root=root / "runs") == 0
    return root


@pytest.fixture
def trained(original):
    """The run, its folder and the data, which each test may change."""
    kept = original.with_name("kept")
    shutil.copytree(original, kept)
    yield original, original / "runs/manifest/mlp"
    shutil.rmtree(original)
    kept.rename(original)


def told(capsys):
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).split())


def test_fit__a_resumed_run_refuses_changed_labels(trained, capsys):
    root, folder = trained
    write_manifest(root, relabelled)
    before = (folder / "checkpoints/last.ckpt").read_bytes()
    assert run("fit", "--ckpt_path", folder, "--trainer.max_epochs", "2") == 2
    error = told(capsys)
    assert "last.ckpt was trained on data that has changed since: 6 labels differ, first: images/train/cat/" in error
    assert ", cat -> dog. A run continues with the data that it began with: put it back" in error
    assert (folder / "checkpoints/last.ckpt").read_bytes() == before
    # neither does a new run from it, or one whose folder is named by the options
    last = folder / "checkpoints/last.ckpt"
    assert run("fit", "--ckpt_path", last, "--trainer.max_epochs", "2", root=root / "other") == 2
    assert not (root / "other").exists()
    write_manifest(root)
    assert run("fit", "--ckpt_path", folder, "--trainer.max_epochs", "2") == 0


def test_fit__another_order_of_the_rows_is_no_change(trained, capsys):
    root, folder = trained
    write_manifest(root, lambda rows: rows[::-1])
    assert run("fit", "--ckpt_path", folder, "--trainer.max_epochs", "2") == 0
    assert run("test", "--ckpt_path", folder) == 0
    assert "changed" not in told(capsys)
    assert "data_changed" not in result(root / "runs", "manifest")["evaluations"]["test"]


def test_fit__going_on_in_the_folder_with_data_of_other_options_is_compared(trained, capsys):
    root, folder = trained
    shutil.copytree(root / "images", root / "moved/images")
    write_manifest(root / "moved")
    elsewhere = ("--data.path", root / "moved/images.csv", "--trainer.max_epochs", "2")
    first = shutil.copytree(folder, root / "first")
    assert run("fit", "--ckpt_path", folder, *elsewhere) == 0
    write_manifest(root / "moved", relabelled)
    assert run("fit", "--ckpt_path", folder, *elsewhere) == 2
    assert "6 labels differ" in told(capsys)
    # a new run may start from it on other data
    assert run("fit", "--ckpt_path", first / "checkpoints/last.ckpt", *elsewhere, root=root / "new") == 0


@pytest.mark.parametrize("command", ["test", "validate"])
def test_evaluation__of_changed_data_is_told_and_recorded(trained, command, capsys):
    root, folder = trained
    split = "test" if command == "test" else "val"
    assert run(command, "--ckpt_path", folder) == 0
    assert "data_changed" not in result(root / "runs", "manifest")["evaluations"][split]
    write_manifest(root, lambda rows: relabelled(rows, split, 2))
    capsys.readouterr()
    with pytest.warns(match="was trained on data that has changed since: 4 labels differ"):
        assert run(command, "--ckpt_path", folder) == 0
    printed = told(capsys)
    sentence = f"4 labels differ, first: images/{'test' if command == 'test' else 'train'}/cat/000.png, cat -> dog"
    assert result(root / "runs", "manifest")["evaluations"][split]["data_changed"] == [sentence]
    assert f"DATA CHANGED: the data has changed since the model was trained on it: {sentence}" in printed


def test_evaluation__of_other_data_is_no_change(trained, capsys):
    root, folder = trained
    write_image_folder(root / "more/images", per_class=5, splits=("train", "test", "val"))
    shutil.rmtree(root / "more/images/train")
    shutil.move(root / "more/images/val", root / "more/images/train")
    write_manifest(root / "more")
    assert run("test", "--ckpt_path", folder, "--data.path", root / "more/images.csv") == 0
    assert "changed" not in told(capsys)
    assert "data_changed" not in result(root / "runs", "manifest")["evaluations"]["test"]


def test_evaluation__another_class_is_told_as_a_change(trained, capsys):
    root, folder = trained
    shutil.copytree(root / "images/train/eel", root / "images/train/ant")
    write_manifest(root)
    assert run("test", "--ckpt_path", folder) == 2
    error = told(capsys)
    assert "has num_classes 3, but --data (the data has changed since: the classes were cat, dog, eel and are ant" in (
        error
    )
    assert "18 images are new, first: images/train/ant/002.png" in error


def test_evaluation__an_older_run_is_compared_by_its_fingerprints(trained, capsys):
    root, folder = trained
    for name in ("best", "last"):
        path = folder / f"checkpoints/{name}.ckpt"
        saved = torch.load(path, weights_only=True)
        del saved["data_record"]
        torch.save(saved, path)
    (folder / "data.safetensors").unlink()
    path = folder / "result.json"
    kept = json.loads(path.read_text())
    del kept["data_record"], kept["digest"]
    path.write_text(json.dumps(kept))
    assert run("test", "--ckpt_path", folder) == 0
    assert "changed" not in told(capsys)
    write_manifest(root, relabelled)
    assert run("test", "--ckpt_path", folder) == 0
    assert "images, labels or the order of train differ (the run is of an earlier version" in told(capsys)


def plan_of(root):
    members = [Member(name, options={"model": "MLP", "model.hidden": [8]}, seed=n) for n, name in enumerate("ab")]
    options = {
        "data": "Manifest",
        "data.path": str(root / "images.csv"),
        # the splits of earlier versions depend on the order of rows
        "data.split_version": 1,
        "trainer.max_epochs": 1,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": False,
        "trainer.enable_model_summary": False,
    }
    shared = {"heads": [LogisticHead(C=1.0)], "options": options, "root": str(root / "runs"), "logit_cache": None}
    return StackPlan(members, experiment="x", mode="oof", num_folds=2, **shared)


def test_stack__no_head_is_fitted_over_cells_of_changed_data(trained):
    root, _ = trained
    plan = plan_of(root)
    folder = root / "runs/x"
    for cell in plan.cells:
        assert main(cell.command(folder)) == 0
    write_manifest(root, lambda rows: rows[::-1])
    data = build_data(config(root / "runs", "x", "a-fold0")["data"])
    # another order gives other folds, and the cells were trained on samples that they would have to predict
    with pytest.raises(DataChangedError, match="images lie in another split, first: images/"):
        refuse_changed_cells(folder, plan.cells, data, allow=False)
    write_manifest(root)
    data = build_data(config(root / "runs", "x", "a-fold0")["data"])
    assert refuse_changed_cells(folder, plan.cells, data, allow=False) == []
    write_manifest(root, relabelled)
    with pytest.raises(DataChangedError, match="^4 of 4 cells cannot be continued") as error:
        second_stage(plan, folder, Console(file=io.StringIO()))
    assert "6 labels differ, first: images/train/cat/" in str(error.value)
    assert "--experiment OTHER or --fresh true" in str(error.value)
    # a cell that is not finished would go on, and is refused with the option too
    (CellFiles(folder, "b-fold1").run.result).unlink()
    data = build_data(config(root / "runs", "x", "a-fold0")["data"])
    with pytest.raises(DataChangedError, match="^1 of 4 cells cannot be continued"):
        refuse_changed_cells(folder, plan.cells, data, allow=True)
