"""What validate, test and predict do with a checkpoint."""

import csv
import shutil

import pytest
import torch

from datamodules.files import image_files
from measures.set_coverage import spoken
from records.result_files import read_result
from tests.helpers.cli import MLP, result, run


def test_test__needs_the_checkpoint_alone(tmp_path):
    run("fit", *MLP, "--data.split_seed", "3", root=tmp_path)
    assert run("test", "--ckpt_path", tmp_path / "digits/mlp/checkpoints/best.ckpt") == 0
    written = result(tmp_path)
    assert written["samples"]["test"] == 359
    assert written["test"]["accuracy"] > 0.3
    assert "fit" in written


def test_test__finds_the_newest_run_by_itself(tmp_path):
    run("fit", *MLP, root=tmp_path)
    assert run("test", "--model", "MLP", root=tmp_path) == 0
    assert "test" in result(tmp_path)


def test_validate__equals_the_fit(tmp_path):
    run("fit", *MLP, root=tmp_path)
    first = result(tmp_path)["val"]
    assert run("validate", "--ckpt_path", tmp_path / "digits/mlp/checkpoints/best.ckpt") == 0
    assert result(tmp_path)["val"] == pytest.approx(first, abs=1e-6)


def test_predict__writes_a_table(tmp_path):
    run("fit", *MLP, root=tmp_path)
    assert run("predict", "--ckpt_path", tmp_path / "digits/mlp/checkpoints/best.ckpt") == 0
    with (tmp_path / "digits/mlp/predicted.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["name"] for row in rows}) == 359
    assert all(row["class"] in "0123456789" and 0 < float(row["probability"]) <= 1 for row in rows)


def test_predict__makes_sets_of_the_coverage_that_test_measures(tmp_path, capsys):
    run("fit", *MLP, root=tmp_path)
    checkpoint = tmp_path / "moved.ckpt"
    shutil.copy(tmp_path / "digits/mlp/checkpoints/best.ckpt", checkpoint)
    asked = ("--ckpt_path", checkpoint, "--sets.coverage", "0.95")
    assert run("test", *asked, root=tmp_path / "tested") == 0
    (path,) = (tmp_path / "tested").glob("*/*/result.json")
    tested = read_result(path)["test_sets"]
    assert 0.85 < tested["covered"]["value"] < 1
    assert tested["calibrated_on"]["split"] == "val"
    assert spoken(tested) in capsys.readouterr().out
    assert run("predict", *asked, root=tmp_path / "predicted") == 0
    assert "95 % sets (raps), calibrated on 143 val samples" in capsys.readouterr().out
    (path,) = (tmp_path / "predicted").glob("*/*/predicted.csv")
    with path.open() as file:
        sizes = [len(row["set"].split(" | ")) for row in csv.DictReader(file)]
    assert sum(sizes) / len(sizes) == pytest.approx(tested["size"]["mean"])


def test_predict__of_a_checkpoint_without_held_out_scores_says_so(tmp_path, capsys):
    """Earlier versions kept none."""
    run("fit", *MLP, root=tmp_path)
    path = tmp_path / "digits/mlp/checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["conformal"]
    torch.save(checkpoint, path)
    for command in ("test", "predict"):
        assert run(command, "--ckpt_path", path) == 0
        assert capsys.readouterr().out.count("no prediction sets: the checkpoint holds no held-out scores") == 1
    with (tmp_path / "digits/mlp/predicted.csv").open() as file:
        assert "set" not in next(csv.reader(file))
    assert result(tmp_path)["test_sets"].keys() == {"missing"}


def test_predict__on_a_folder_of_photos_of_any_size(tmp_path, image_folder):
    from PIL import Image

    args = ("--data", "ImageFolder", "--data.root", image_folder, "--data.batch_size", "8")
    run("fit", *MLP, *args, root=tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.effect_noise((90, 50), 40).save(photos / "my photo.jpg")
    checkpoint = tmp_path / "image_folder/mlp/checkpoints/best.ckpt"
    # the training images are not needed any more
    image_folder.rename(tmp_path / "gone")
    assert run("predict", "--ckpt_path", checkpoint, "--data.predict_root", photos) == 0
    text = (tmp_path / "image_folder/mlp/predicted.csv").read_text()
    assert "my photo.jpg" in text


def test_predict__names_all_broken_files_at_once(tmp_path, image_folder, capsys):
    run("fit", *MLP, "--data", "ImageFolder", "--data.root", image_folder, root=tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(12):
        (photos / f"broken{number}.png").write_bytes(b"no image")
    shutil.copy(next((image_folder / "test/cat").iterdir()), photos / "whole.png")
    asked = ("predict", "--ckpt_path", tmp_path / "image_folder/mlp", "--data.predict_root", photos)
    assert run(*asked) == 2
    told = capsys.readouterr().err
    assert "--data.on_unreadable skip" in told
    assert all(f"broken{number}.png" in told for number in range(12))
    with pytest.warns(UserWarning, match="12 of 13 files are left out"):
        assert run(*asked, "--data.on_unreadable", "skip") == 0
    printed = capsys.readouterr().out
    assert "1 predictions" in printed
    assert all(f"broken{number}.png" in printed for number in range(12))


def test_predict__takes_the_range_of_values_of_training(tmp_path, capsys, monkeypatch):
    import numpy as np
    from PIL import Image

    for number, name in enumerate("ab"):
        (tmp_path / "deep" / name).mkdir(parents=True)
        for copy in range(12):
            pixels = np.random.default_rng(copy).integers(0, 2000, (16, 16)) + 2000 * number
            Image.fromarray(pixels.astype(np.uint16)).save(tmp_path / "deep" / name / f"{copy}.png")
    run("fit", *MLP, "--data", "ImageFolder", "--data.root", tmp_path / "deep", root=tmp_path)
    checkpoint = tmp_path / "image_folder/mlp/checkpoints/best.ckpt"
    (tmp_path / "new").mkdir()
    # this file alone seems to have 8 bits
    Image.fromarray(np.full((16, 16), 200, dtype=np.uint16)).save(tmp_path / "new/dark.png")
    (tmp_path / "new/IMG_1.HEIC").write_bytes(b"")
    ranges, read_into_memory = [], image_files.read_into_memory
    monkeypatch.setattr(
        image_files,
        "read_into_memory",
        lambda files, stop: ranges.append(files.value_range) or read_into_memory(files, stop),
    )
    assert run("predict", "--ckpt_path", checkpoint, "--data.predict_root", tmp_path / "new") == 0
    assert ranges == [(0, 4095)]
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 files are images; left out: 1 .heic" in printed


def test_data_of_other_classes__is_refused(tmp_path, image_folder, capsys):
    run("fit", *MLP, root=tmp_path)
    checkpoint = tmp_path / "digits/mlp/checkpoints/best.ckpt"
    args = ("--data", "ImageFolder", "--data.root", image_folder)
    assert run("test", "--ckpt_path", checkpoint, *args) == 2
    assert "best.ckpt has num_classes 10, but --data has num_classes 3" in capsys.readouterr().err


def test_predict__grey_models_get_grey_photos(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for number, name in enumerate(("dark", "light")):
            (tmp_path / "grey" / split / name).mkdir(parents=True)
            for copy in range(12):
                image = Image.new("L", (12, 12), 180 * number + copy)
                image.save(tmp_path / "grey" / split / name / f"{copy}.png")
    args = ("--data", "ImageFolder", "--data.root", tmp_path / "grey", "--data.batch_size", "4")
    assert run("fit", *MLP, *args, root=tmp_path) == 0
    Image.new("RGB", (40, 30), (200, 200, 190)).save(tmp_path / "photo.jpg")
    checkpoint = tmp_path / "image_folder/mlp/checkpoints/best.ckpt"
    assert run("predict", "--ckpt_path", checkpoint, "--data.predict_root", tmp_path / "photo.jpg") == 0


def test_stack__is_found_with_its_bases_after_a_move(tmp_path, monkeypatch):
    split = ("--data.stack_fraction", "0.2")
    run("fit", *MLP, *split, root=tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    args = ("--model", "StackingModule", "--model.bases", "[runs/digits/mlp]", *split)
    assert run("fit", *args, root=tmp_path / "runs") == 0
    (tmp_path / "runs").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("test", "--ckpt_path", tmp_path / "moved/digits/stacking_module/checkpoints/best.ckpt") == 0
    assert result(tmp_path / "moved", name="stacking_module")["test"]["accuracy"] > 0.3


def test_stack__validate_equals_the_fit(tmp_path):
    split = ("--data.stack_fraction", "0.2")
    run("fit", *MLP, *split, root=tmp_path)
    bases = ("--model", "StackingModule", "--model.bases", f"[{tmp_path}/digits/mlp]", "--model.train_on", "val")
    bases += ("--model.logit_cache", str(tmp_path / "logits"))
    assert run("fit", *bases, *split, root=tmp_path) == 0
    fit = result(tmp_path, name="stacking_module")["val"]
    assert run("validate", "--ckpt_path", tmp_path / "digits/stacking_module/checkpoints/best.ckpt") == 0
    again = result(tmp_path, name="stacking_module")
    assert again["val"] == pytest.approx(fit, abs=1e-6)
    assert again["evaluations"]["val"]["samples"] == 287


def test_test__a_checkpoint_made_without_the_command_line(tmp_path):
    import lightning_modules
    from datamodules import Digits
    from tests.helpers.training import fit

    data = Digits()
    path = fit(lightning_modules.MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)
    assert run("test", "--ckpt_path", path, root=tmp_path) == 0
    assert result(tmp_path)["evaluations"]["test"]["samples"] == 359


def test_figures__by_option_and_by_callback(tmp_path):
    run("fit", *MLP, root=tmp_path)
    folder = tmp_path / "digits/mlp"
    assert not (folder / "figures").exists()
    options = ("--figures.gallery", "false", "--figures.curves", "false", "--figures.calibration", "false")
    callbacks = ("--trainer.callbacks+=Gallery", "--trainer.callbacks.images", "3")
    assert run("test", "--ckpt_path", folder, *options, *callbacks) == 0
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"test_misclassified.png", "test_per_class.png", "test_confusion_matrix.png"} <= names
    assert "test_roc.png" not in names
