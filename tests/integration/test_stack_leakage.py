"""Planted leaks are all found by the second stage of `train.py stack`, and its stack.ckpt tells of them."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors import safe_open

from datamodules import ImageFolder
from datamodules.data_record import DataChangedError
from ensembling.heads.fitting import LogisticHead
from ensembling.leakage import LeakageError
from lightning_modules import MLP
from lightning_modules.checkpoints import load_classifier
from pipelines.main import main
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.second_stage import second_stage
from records.tensor_files import NAME
from tests.helpers.cli import run
from tests.helpers.data import write_image_folder
from tests.helpers.training import fit

# no figure is looked at
pytestmark = pytest.mark.usefixtures("blank_figures")
SPLIT = {"data.val_fraction": 0.2, "data.stack_fraction": 0.3}
QUICK = {
    "trainer.max_epochs": 1,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}


def make(root, options, **changes):
    own = changes.pop("own", {})
    members = [Member("first", options={"model": "MLP", "model.hidden": [8]}, seed=1)]
    members.append(Member("second", options={"model": "MLP", "model.hidden": [8], **own}, seed=2))
    shared = {"data": "ImageFolder", **QUICK, **options}
    defaults = {"members": members, "heads": [LogisticHead(C=1.0)], "keep": "logistic", "root": str(root)}
    return StackPlan(
        **{**defaults, "experiment": "x", "options": shared, "logit_cache": None, "all_tables": True, **changes}
    )


def train(plan):
    for cell in plan.cells:
        assert main(cell.command(cells_of(plan))) == 0
    return plan


def cells_of(plan):
    return Path(plan.root) / plan.experiment


def told_by(file):
    """What a file of tensors says of itself, beside its checksum."""
    return {name: text for name, text in file.metadata().items() if name != NAME}


def stacked(plan):
    """Run the second stage; return what it printed and its folder."""
    text = io.StringIO()
    assert second_stage(plan, cells_of(plan), Console(file=text)) == 0
    return text.getvalue(), cells_of(plan) / plan.stack_name


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("data") / "images", per_class=20)


@pytest.fixture(scope="module")
def honest(images, tmp_path_factory):
    """Members that were trained beside a stack split, whose folder no test changes."""
    root = tmp_path_factory.mktemp("honest")
    return train(make(root, {"data.root": str(images), **SPLIT}))


# each returns a plan whose cells are trained, and the members that know meta samples


def own_training_samples(tmp_path, images):
    # the plan itself refuses the mode otherwise
    plan = make(tmp_path, {"data.root": str(images), **SPLIT}, mode="train", allow_leakage=True)
    return train(plan), ["first", "second"]


def through_initial_weights(tmp_path, images):
    data = ImageFolder(root=str(images), val_fraction=0.2)
    start = fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)
    return train(make(tmp_path, {"data.root": str(images), **SPLIT}, own={"model.weights": str(start)})), ["second"]


def copy_under_another_name(tmp_path, images):
    root = shutil.copytree(images, tmp_path / "images")
    # other noise than in train and test
    write_image_folder(tmp_path / "more", per_class=5, splits=("train", "test", "val"))
    shutil.copytree(tmp_path / "more/val", root / "val")
    shutil.copy(root / "train/cat/000.png", root / "val/cat/another.png")
    return train(make(tmp_path, {"data.root": str(root)}, mode="val")), ["first", "second"]


def other_images_of_a_patient(tmp_path, images):
    rng = np.random.default_rng(0)
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split", "group"])
        for number in range(90):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
            # a patient of each split comes in the next split again
            rows.writerow(
                [f"{number}.png", "abc"[number % 3], ("train", "val", "test")[number // 30], number // 3 % 19]
            )
    options = {"data": "Manifest", "data.path": str(tmp_path / "manifest.csv")}
    return train(make(tmp_path, options, mode="val")), ["first", "second"]


def renamed_files(tmp_path, images):
    root = shutil.copytree(images, tmp_path / "images")
    plan = train(make(tmp_path, {"data.root": str(root), **SPLIT, "data.split_version": 1}))
    for path in sorted((root / "train").rglob("*.png")):
        # names in another order give other splits, where these are drawn by rows
        path.rename(path.with_name(f"{(int(path.stem) * 7) % 101}-renamed.png"))
    return plan, ["first", "second"]


PLANTS = [
    own_training_samples,
    through_initial_weights,
    copy_under_another_name,
    other_images_of_a_patient,
    renamed_files,
]


@pytest.mark.parametrize("plant", PLANTS)
def test_leak__is_refused_or_told_in_all_that_stack_writes(tmp_path, images, plant):
    plan, known = plant(tmp_path, images)
    plan.allow_leakage, plan.allow_changed = False, True
    with pytest.raises(LeakageError, match=f"^{known[0]} was fitted on"):
        stacked(plan)
    assert not (cells_of(plan) / "stack").exists()
    plan.allow_leakage = True
    printed, folder = stacked(plan)
    result = json.loads((folder / "result.json").read_text())
    sentences = result["leakage"]["allowed"]
    assert [sentence.split()[0] for sentence in sentences] == known
    assert result["stack"]["leakage"]["allowed"] == sentences
    # models, calibration, differences, members, cost
    assert " ".join(printed.split()).count("— LEAKAGE ALLOWED") == 5
    recommended = result["stack"]["recommendation"]["sentence"]
    assert "that were not held out from the members (LEAKAGE ALLOWED)" in recommended
    assert "held-out samples" not in recommended
    for name in ("predictions", "logits"):
        with safe_open(folder / f"{name}.safetensors", "pt") as file:
            assert file.metadata()["leakage_allowed"] == "; ".join(sentences)
    model = load_classifier(folder / "checkpoints/stack.ckpt")
    assert model.leakage.problems() == sentences


def test_unknown_images__are_refused_or_told_in_all_that_stack_writes(tmp_path, images, capsys):
    plan = train(make(tmp_path, {"data.root": str(images), **SPLIT}))
    weights = cells_of(plan) / "second/checkpoints/best.ckpt"
    saved = torch.load(weights, weights_only=True)
    saved["provenance"]["fitted"] = torch.empty(0, dtype=torch.int64)
    torch.save(saved, weights)
    with pytest.raises(LeakageError, match=r"^second was fitted on unknown images: .*best\.ckpt.* allow_unknown true"):
        stacked(plan)
    plan.allow_unknown = True
    printed, folder = stacked(plan)
    sentence = f"second was fitted on unknown images: {weights}"
    result = json.loads((folder / "result.json").read_text())
    assert result["leakage"]["unknown"] == result["stack"]["leakage"]["unknown"] == [sentence]
    assert result["unknown_images"] == [str(weights)]
    printed = " ".join(printed.split())
    assert printed.count("— FITTED ON UNKNOWN IMAGES") == 5
    assert f"UNKNOWN IMAGES: {sentence}" in printed
    with safe_open(folder / "predictions.safetensors", "pt") as file:
        assert told_by(file) == {"unknown_images": sentence}
    path = shutil.copy(folder / "checkpoints/stack.ckpt", tmp_path / "copy.ckpt")
    capsys.readouterr()
    assert run("test", "--ckpt_path", path, "--run.experiment", "tested", root=tmp_path) == 0
    assert f"UNKNOWN IMAGES: {sentence}" in " ".join(capsys.readouterr().out.split())


def test_changed_data__is_refused_or_told_in_all_that_stack_writes(tmp_path, images, capsys):
    root = shutil.copytree(images, tmp_path / "images")
    plan = train(make(tmp_path, {"data.root": str(root), **SPLIT}))
    held = ImageFolder(root=str(root), val_fraction=0.2, stack_fraction=0.3).splits["stack"].sample_names()
    cat, dog = (next(root / name for name in held if f"/{kind}/" in name) for kind in ("cat", "dog"))
    content = cat.read_bytes()
    cat.write_bytes(dog.read_bytes())
    dog.write_bytes(content)
    with pytest.raises(
        DataChangedError, match=r"2 of 2 cells .* 2 images have other content, first: train/cat/"
    ) as error:
        stacked(plan)
    assert "allow_changed true" in str(error.value)
    assert not (cells_of(plan) / "stack").exists()
    plan.allow_changed = True
    printed, folder = stacked(plan)
    (sentence,) = json.loads((folder / "result.json").read_text())["leakage"]["changed"]
    assert sentence.startswith("first, second: trained on data that has changed since: 2 images have other content")
    printed = " ".join(printed.split())
    assert printed.count("— DATA CHANGED SINCE TRAINING") == 5
    assert f"DATA CHANGED: {sentence}" in printed
    # the file says it itself, wherever it is
    path = shutil.copy(folder / "checkpoints/stack.ckpt", tmp_path / "copy.ckpt")
    capsys.readouterr()
    assert run("predict", "--ckpt_path", path, "--run.experiment", "predicted", root=tmp_path) == 0
    assert f"DATA CHANGED: {sentence}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("place", ["in its folder", "copied elsewhere"])
def test_leaked_checkpoint__tells_wherever_it_is_used(tmp_path, images, place, capsys):
    plan, _ = own_training_samples(tmp_path, images)
    _, folder = stacked(plan)
    path = folder / "checkpoints/stack.ckpt"
    sentences = json.loads((folder / "result.json").read_text())["leakage"]["allowed"]
    elsewhere = place == "copied elsewhere"
    if elsewhere:
        path = shutil.copy(path, tmp_path / "copy.ckpt")
        shutil.rmtree(cells_of(plan))
    capsys.readouterr()
    assert run("test", "--ckpt_path", path, *["--run.experiment", "tested"] * elsewhere, root=tmp_path) == 0
    printed = " ".join(capsys.readouterr().out.split())
    (tested,) = [p.parent for p in tmp_path.glob("*/*/result.json") if "test" in json.loads(p.read_text())]
    assert json.loads((tested / "result.json").read_text())["leakage"]["allowed"] == sentences
    with safe_open(tested / "predictions.safetensors", "pt") as file:
        assert told_by(file) == {"leakage_allowed": "; ".join(sentences)}
    assert run("predict", "--ckpt_path", path, *["--run.experiment", "predicted"] * elsewhere, root=tmp_path) == 0
    predicted = " ".join(capsys.readouterr().out.split())
    for sentence in sentences:
        assert f"LEAKAGE ALLOWED: {sentence}" in printed
        assert f"LEAKAGE ALLOWED: {sentence}" in predicted


def test_copies_of_meta_samples_in_test__are_told(tmp_path, images):
    root = shutil.copytree(images, tmp_path / "images")
    data = ImageFolder(root=str(root), val_fraction=0.2, stack_fraction=0.3)
    planted = [name for name in data.splits["stack"].sample_names() if "/cat/" in name][:2]
    for number, name in enumerate(planted):
        shutil.copy(root / name, sorted((root / "test/cat").iterdir())[number])
    printed, folder = stacked(train(make(tmp_path, {"data.root": str(root), **SPLIT})))
    note, *_ = json.loads((folder / "result.json").read_text())["stack"]["notes"]
    assert note.startswith("the heads were fitted on copies of 2 of the test samples")
    assert "note: the heads were fitted on copies of 2" in " ".join(printed.split())


def test_selection__is_a_note_of_the_checkpoint_too(tmp_path, honest, capsys):
    honest.stack_name, honest.mode = "on_val", "val"
    _, folder = stacked(honest)
    path = shutil.copy(folder / "checkpoints/stack.ckpt", tmp_path / "copy.ckpt")
    assert run("test", "--ckpt_path", path, "--run.experiment", "tested", root=tmp_path) == 0
    assert "note: first was selected on 12 meta-training samples" in " ".join(capsys.readouterr().out.split())


def test_honest__leaves_no_mark(tmp_path, honest, capsys):
    honest.stack_name, honest.mode = "stack", "holdout"
    printed, folder = stacked(honest)
    result = json.loads((folder / "result.json").read_text())
    assert result["leakage"] == {"allowed": [], "warnings": []}
    assert "held-out samples" in result["stack"]["recommendation"]["sentence"]
    path = folder / "checkpoints/stack.ckpt"
    capsys.readouterr()
    assert run("test", "--ckpt_path", path) == 0
    assert run("predict", "--ckpt_path", path, root=tmp_path) == 0
    assert "LEAKAGE" not in printed + capsys.readouterr().out
    with safe_open(folder / "predictions.safetensors", "pt") as file:
        assert told_by(file) == {}
