"""Leaks that were planted on purpose are all found by `train.py fit` of a stack, and honest stacks are let through."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from datamodules import ImageFolder, Manifest
from lightning_modules import MLP
from tests.helpers.cli import run
from tests.helpers.data import write_image_folder
from tests.helpers.training import fit

CLASSES = ("cat", "dog", "eel")
SPLIT = {"val_fraction": 0.2, "stack_fraction": 0.3}
BY_ROW = {"split_version": 1}


def base(folder, data, **options):
    folder.mkdir()
    model = MLP(data_info=data.info, hidden=[8], **options)
    return fit(model, data, folder, max_epochs=1).rename(folder / "base.ckpt")


def fit_stack(tmp_path, checkpoint, options, *more):
    data = [f"--data.{name}={value}" for name, value in options.items()]
    stack = ("--model", "StackingModule", "--model.bases", f"[{checkpoint}]", "--model.logit_cache", "null")
    return run("fit", "--data", "ImageFolder", *data, *stack, *more, "--run.name", "stack", root=tmp_path / "runs")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("data") / "images", per_class=20)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A base that was fitted honestly: on the training samples, beside a stack split."""
    return base(tmp_path_factory.mktemp("base") / "run", ImageFolder(root=str(images), **SPLIT))


# each returns a checkpoint and the stack's data


def shared_samples(tmp_path, images, trained):
    return base(tmp_path / "whole", ImageFolder(root=str(images), val_fraction=0.2)), {"root": images, **SPLIT}


def other_split_seed(tmp_path, images, trained):
    return trained, {"root": images, **SPLIT, "split_seed": 1}


def other_fold(tmp_path, images, trained):
    data = ImageFolder(root=str(images), num_folds=4, fold=1, held_out="stack", val_fraction=0.2)
    folds = {"root": images, "val_fraction": 0.2, "num_folds": 4, "fold": 2, "held_out": "stack"}
    return base(tmp_path / "fold", data), folds


def renamed_folder(tmp_path, images, trained):
    moved = shutil.copytree(images, tmp_path / "moved")
    for path in sorted(moved.rglob("*.png")):
        # names in another order give other splits, where these are drawn by rows
        path.rename(path.with_name(f"{(int(path.stem) * 7) % 101}-renamed.png"))
    return trained, {"root": moved, **SPLIT, **BY_ROW}


def duplicate_under_another_name(tmp_path, images, trained):
    fresh = tmp_path / "fresh"
    rng = np.random.default_rng(0)
    for number in range(60):
        path = fresh / "train" / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    data = ImageFolder(root=str(images), **SPLIT)
    # drawn by rows, so that another image in the place of one is held out too
    stacked = ImageFolder(root=str(fresh), **SPLIT, **BY_ROW).splits["stack"]
    # one image that the base was fitted on stands in for one that the meta-model is trained on
    shutil.copy(images / data.splits["train"].sample_names()[0], fresh / stacked.sample_names()[0])
    return trained, {"root": fresh, **SPLIT, **BY_ROW}


def through_initial_weights(tmp_path, images, trained):
    first = base(tmp_path / "first", ImageFolder(root=str(images), val_fraction=0.2))
    return base(tmp_path / "second", ImageFolder(root=str(images), **SPLIT), weights=str(first)), {
        "root": images,
        **SPLIT,
    }


@pytest.mark.parametrize(
    "plant",
    [
        shared_samples,
        other_split_seed,
        other_fold,
        renamed_folder,
        duplicate_under_another_name,
        through_initial_weights,
    ],
)
def test_leak__of_samples_is_refused(tmp_path, images, trained, plant, capsys):
    checkpoint, options = plant(tmp_path, images, trained)
    assert fit_stack(tmp_path, checkpoint, options) == 2
    error = capsys.readouterr().err
    assert "base was fitted on" in error
    assert "of the meta-training samples" in error
    assert "set the option allow_leakage true" in error


def test_leak__a_checkpoint_without_provenance_is_refused(tmp_path, images, trained, capsys):
    saved = torch.load(trained, weights_only=True)
    del saved["provenance"]
    torch.save(saved, tmp_path / "base.ckpt")
    assert fit_stack(tmp_path, tmp_path / "base.ckpt", {"root": images, **SPLIT}) == 2
    error = capsys.readouterr().err
    assert f"base was fitted on unknown images: {tmp_path / 'base.ckpt'}" in error
    assert "option allow_unknown true" in error


def write_patients(folder, patients, seed):
    """A manifest of new images of some patients, two of each, and of images without a group, under the same names."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "group"])
        for number, patient in enumerate(p for p in patients for _ in range(2)):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
            rows.writerow([f"{number}.png", CLASSES[patient % 3], "" if number > 70 else f"patient {patient}"])
    return folder / "manifest.csv"


@pytest.mark.parametrize(("second", "status"), [(range(12, 42), 2), (range(42, 84), 0)])
def test_leak__other_images_of_the_same_patients_are_refused(tmp_path, second, status, capsys):
    first = Manifest(path=str(write_patients(tmp_path / "first", range(42), 0)), **SPLIT)
    checkpoint = base(tmp_path / "run", first)
    options = {"path": write_patients(tmp_path / "second", second, 1), **SPLIT}
    assert fit_stack(tmp_path, checkpoint, options, "--data", "Manifest") == status
    refused = "base was fitted on other samples of the groups of" in capsys.readouterr().err
    assert refused == (status == 2)


def test_leak__groups_of_one_manifest_with_another_split_seed(tmp_path, capsys):
    path = write_patients(tmp_path / "first", range(42), 0)
    checkpoint = base(tmp_path / "run", Manifest(path=str(path), **SPLIT))
    assert fit_stack(tmp_path, checkpoint, {"path": path, **SPLIT}, "--data", "Manifest") == 0
    assert fit_stack(tmp_path, checkpoint, {"path": path, **SPLIT, "split_seed": 3}, "--data", "Manifest") == 2
    # whole patients change sides, so that all their images were seen
    assert "base was fitted on" in capsys.readouterr().err


# honest


def renamed_files(tmp_path, images, trained):
    # splits are drawn by content: names in another order change none
    moved = shutil.copytree(images, tmp_path / "moved")
    for path in sorted(moved.rglob("*.png")):
        path.rename(path.with_name(f"{(int(path.stem) * 7) % 101}-renamed.png"))
    return trained, {"root": moved, **SPLIT}


def same_split(tmp_path, images, trained):
    return trained, {"root": images, **SPLIT}


def held_out_fold(tmp_path, images, trained):
    folds = {"val_fraction": 0.2, "num_folds": 4, "fold": 1, "held_out": "stack"}
    return base(tmp_path / "fold", ImageFolder(root=str(images), **folds)), {"root": images, **folds}


def moved_and_listed_in_another_order(tmp_path, images, trained):
    paths = sorted((path for path in images.rglob("*.png")), reverse=True)
    for path in paths:
        copy = tmp_path / "elsewhere" / path.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return trained, {"root": tmp_path / "elsewhere", **SPLIT}


def subsampled(tmp_path, images, trained):
    data = ImageFolder(root=str(images), **SPLIT, subsample=0.5)
    return base(tmp_path / "half", data), {"root": images, **SPLIT}


def other_data(tmp_path, images, trained):
    # the names of the samples are those that the base was fitted on, the images are others
    return trained, {"root": write_inverted(images, tmp_path / "inverted"), **SPLIT, "split_seed": 1}


def write_inverted(images, folder):
    for path in images.rglob("*.png"):
        copy = folder / path.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.asarray(Image.open(path))).save(copy)
    return folder


@pytest.mark.parametrize(
    "honest", [same_split, renamed_files, held_out_fold, moved_and_listed_in_another_order, subsampled, other_data]
)
def test_honest__is_not_refused(tmp_path, images, trained, honest):
    checkpoint, options = honest(tmp_path, images, trained)
    assert fit_stack(tmp_path, checkpoint, options) == 0
    (path,) = (tmp_path / "runs").rglob("result.json")
    assert json.loads(path.read_text())["leakage"] == {"allowed": [], "warnings": []}


def test_allow_leakage__is_said_wherever_results_appear(tmp_path, images, trained, capsys):
    checkpoint, options = other_split_seed(tmp_path, images, trained)
    assert fit_stack(tmp_path, checkpoint, options, "--model.allow_leakage", "true") == 0
    assert "LEAKAGE ALLOWED: base was fitted on" in capsys.readouterr().out
    (path,) = (tmp_path / "runs").rglob("result.json")
    weights = path.parent / "checkpoints/best.ckpt"
    assert run("test", "--ckpt_path", weights) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "images — LEAKAGE ALLOWED" in shown
    assert "LEAKAGE ALLOWED: base was fitted on" in shown
    assert "note: base was selected on" in shown
    (sentence,) = json.loads(path.read_text())["leakage"]["allowed"]
    with safe_open(path.parent / "predictions.safetensors", framework="pt") as file:
        assert {name: text for name, text in file.metadata().items() if name != "content_checksum"} == {
            "leakage_allowed": sentence
        }
    assert run("predict", "--ckpt_path", weights, root=tmp_path / "runs") == 0
    assert f"LEAKAGE ALLOWED: {sentence}" in " ".join(capsys.readouterr().out.split())


def test_selection__on_the_meta_samples_is_a_note_in_every_table(tmp_path, images, trained, capsys):
    assert fit_stack(tmp_path, trained, {"root": images, **SPLIT}, "--model.train_on", "val") == 0
    assert "note: base was selected on 12 meta-training samples" in " ".join(capsys.readouterr().out.split())
    (path,) = (tmp_path / "runs").rglob("result.json")
    assert json.loads(path.read_text())["leakage"]["warnings"] == ["base was selected on 12 meta-training samples"]


def test_evaluation__counts_what_the_head_was_fitted_on(tmp_path, images, trained):
    """A stack that is tested on the samples of its head says so, as any model does."""
    assert fit_stack(tmp_path, trained, {"root": images, **SPLIT}) == 0
    (path,) = (tmp_path / "runs").rglob("result.json")
    tested = Path(shutil.copytree(images, tmp_path / "tested"))
    shutil.rmtree(tested / "test")
    stacked = ImageFolder(root=str(images), **SPLIT).splits["stack"].sample_names()
    for name in stacked:
        target = tested / "test" / Path(name).relative_to("train")
        target.parent.mkdir(parents=True, exist_ok=True)
        (tested / name).rename(target)
    assert run("test", "--ckpt_path", path.parent / "checkpoints/best.ckpt", "--data.root", tested) == 0
    assert json.loads(path.read_text())["evaluations"]["test"]["fitted_on"] == len(stacked)
