import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from datamodules.files import image_files
from tests.helpers.cli import config, result, run

MLP = ("--model", "MLP", "--model.hidden", "[16]", "--trainer.max_epochs", "2")


def test_fit__leaves_a_whole_run(tmp_path, capsys):
    assert run("fit", *MLP, root=tmp_path) == 0
    folder = tmp_path / "digits" / "mlp"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "result.json",
        "predictions.safetensors",
        "metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    printed = capsys.readouterr().out
    assert "train.py test --ckpt_path" in printed
    assert "tensorboard --logdir" in printed
    written = result(tmp_path)
    assert written["seed"] == 0
    assert written["model"] == "lightning_modules.MLP"
    assert written["val"]["accuracy"] > 0.3


def test_fit__what_the_data_knows_stands_in_the_saved_config(tmp_path):
    run("fit", *MLP, "--data.image_size", "12", root=tmp_path)
    info = config(tmp_path)["model"]["init_args"]["data_info"]
    assert info["num_classes"] == 10
    assert info["in_channels"] == 1
    assert info["image_size"] == [12, 12]
    assert sum(info["class_counts"]) == result(tmp_path)["samples"]["train"]


def test_fit__the_saved_config_reruns_to_the_same_numbers(tmp_path):
    run("fit", *MLP, "--seed_everything", "7", root=tmp_path)
    assert run("fit", "--config", tmp_path / "digits/mlp/config.yaml", quick=False) == 0
    first, second = result(tmp_path), result(tmp_path, name="mlp-2")
    assert first["val"] == second["val"]
    assert first["fingerprints"] == second["fingerprints"]
    left, right = (load_file(tmp_path / f"digits/{n}/predictions.safetensors") for n in ("mlp", "mlp-2"))
    assert torch.equal(left["val/logits"], right["val/logits"])


def test_fit__a_second_run_overwrites_nothing(tmp_path):
    run("fit", *MLP, root=tmp_path)
    files = {p: p.read_bytes() for p in (tmp_path / "digits/mlp").rglob("*") if p.is_file()}
    run("fit", *MLP, "--seed_everything", "1", root=tmp_path)
    assert (tmp_path / "digits/mlp-2/result.json").is_file()
    assert {p: p.read_bytes() for p in files} == files


def test_fit__resumes_in_the_same_folder(tmp_path):
    run("fit", *MLP, root=tmp_path)
    assert run("fit", *MLP, "--ckpt_path", "last", "--trainer.max_epochs", "4", root=tmp_path) == 0
    assert not (tmp_path / "digits/mlp-2").exists()
    assert result(tmp_path)["fit"]["epochs"] == 4
    with (tmp_path / "digits/mlp/metrics.csv").open() as file:
        epochs = {row["epoch"] for row in csv.DictReader(file) if row["val/accuracy"]}
    assert epochs == {"0", "1", "2", "3"}
    # what it was first asked for is kept
    assert config(tmp_path, file="config.1.yaml")["trainer"]["max_epochs"] == 2


def test_precedence__command_line_beats_config_beats_checkpoint(tmp_path):
    trained = ("--data.batch_size", "32", "--data.val_fraction", "0.2", "--model.dropout", "0.5")
    run("fit", *MLP, *trained, "--model.optimizer.lr", "0.02", root=tmp_path)
    checkpoint = tmp_path / "digits/mlp/checkpoints/last.ckpt"
    fragment = tmp_path / "fragment.yaml"
    fragment.write_text("data: {init_args: {batch_size: 40}}\nmodel: {init_args: {dropout: 0.1}}\n")
    # the config stands last, and must lose to the command line all the same
    args = ("--model.dropout", "0.2", "--trainer.max_epochs", "3", "--config", fragment)
    assert run("fit", "--ckpt_path", checkpoint, *args, "--run.name", "more", root=tmp_path) == 0
    # epochs of the first run do not count as this one's best
    assert result(tmp_path, name="more")["fit"]["best_epoch"] == 2
    resolved = config(tmp_path, name="more")
    assert resolved["model"]["init_args"]["dropout"] == 0.2
    assert resolved["data"]["init_args"]["batch_size"] == 40
    assert resolved["data"]["init_args"]["val_fraction"] == 0.2
    assert resolved["model"]["init_args"]["hidden"] == [16]
    assert resolved["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.02


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("optimizer.lr", "0.5"),
        ("optimizer.weight_decay", "0.5"),
        ("optimizer", "SGD"),
        ("schedule", "Plateau"),
        ("schedule.warmup", "0.3"),
        ("backbone_lr_factor", "0.1"),
        ("freeze", "backbone"),
    ],
)
def test_resume__with_another_optimizer_is_refused(tmp_path, capsys, option, value):
    run("fit", *MLP, root=tmp_path)
    before = config(tmp_path)
    args = ("--ckpt_path", tmp_path / "digits/mlp", "--trainer.max_epochs", "3", f"--model.{option}", value)
    assert run("fit", *args, root=tmp_path) == 2
    message = capsys.readouterr().err
    assert f"--model.{option.partition('.')[0]}: a resumed run continues with the optimizer" in message
    assert f"--model.weights {tmp_path / 'digits/mlp/checkpoints/last.ckpt'}" in message
    assert config(tmp_path) == before


def test_resume__with_the_same_optimizer_given_again(tmp_path):
    options = ("--model.optimizer", "SGD", "--model.optimizer.lr", "0.01", "--model.schedule", "Constant")
    run("fit", *MLP, *options, root=tmp_path)
    args = ("--ckpt_path", "last", "--trainer.max_epochs", "3")
    assert run("fit", *MLP, *options, *args, root=tmp_path) == 0
    assert result(tmp_path)["fit"]["epochs"] == 3


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


def test_monitor__the_mode_must_fit(tmp_path, capsys):
    assert run("fit", *MLP, "--best_checkpoint.monitor", "val/nll", root=tmp_path) == 2
    assert "use --best_checkpoint.mode min" in capsys.readouterr().err
    args = ("--best_checkpoint.monitor", "val/nll", "--best_checkpoint.mode", "min")
    assert run("fit", *MLP, *args, root=tmp_path) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("save_top_k", 3),
        ("save_top_k", 0),
        ("every_n_epochs", 3),
        ("filename", "other"),
        ("dirpath", "elsewhere"),
        ("save_last", True),
    ],
)
def test_best_checkpoint__is_the_best_and_nothing_else(tmp_path, capsys, name, value):
    assert run("fit", *MLP, f"--best_checkpoint.{name}", value, root=tmp_path) == 2
    assert f"--best_checkpoint.{name} {value!r}: best.ckpt holds the best" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_checkpoints__more_by_a_callback_of_ones_own(tmp_path):
    more = ("--trainer.callbacks", "ModelCheckpoint", "--trainer.callbacks.filename", "{epoch}")
    assert run("fit", *MLP, *more, "--trainer.callbacks.save_top_k", "-1", root=tmp_path) == 0
    names = {path.name for path in (tmp_path / "digits/mlp/checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "epoch=0.ckpt", "epoch=1.ckpt"}


def test_switches__loggers_and_checkpoints_off(tmp_path):
    args = ("--trainer.logger", "false", "--trainer.enable_checkpointing", "false")
    assert run("fit", *MLP, *args, root=tmp_path) == 0
    assert {p.name for p in (tmp_path / "digits/mlp").iterdir()} == {
        ".run.lock",
        "config.yaml",
        "data.safetensors",
        "result.json",
        "predictions.safetensors",
    }


def test_class__starts_from_its_own_defaults(tmp_path, image_folder):
    # the digits, which are the default, are served at 16x16 in batches of 64 and are never mirrored
    args = ("--data", "ImageFolder", "--data.root", image_folder, "--model.optimizer", "SGD")
    assert run("fit", *MLP, *args, root=tmp_path) == 0
    resolved = config(tmp_path, experiment="image_folder")
    data, optimizer = resolved["data"]["init_args"], resolved["model"]["init_args"]["optimizer"]
    assert (data["image_size"], data["batch_size"], data["augmentation"]) == (None, 128, ["crop", "flip"])
    assert optimizer["init_args"]["weight_decay"] == 0


def test_class__options_of_configs_are_its_own(tmp_path, image_folder):
    fragment = tmp_path / "fragment.yaml"
    fragment.write_text("data: {init_args: {batch_size: 8}}")
    args = ("--data", "ImageFolder", "--data.root", image_folder, "--config", fragment)
    assert run("fit", *MLP, *args, root=tmp_path) == 0
    assert config(tmp_path, experiment="image_folder")["data"]["init_args"]["batch_size"] == 8


def test_resume__a_run_by_its_folder(tmp_path):
    run("fit", *MLP, root=tmp_path)
    run("fit", *MLP, root=tmp_path)
    first = tmp_path / "digits/mlp"
    args = ("--config", first / "config.yaml", "--ckpt_path", first, "--trainer.max_epochs", "3")
    assert run("fit", *args, quick=False) == 0
    assert result(tmp_path)["fit"]["epochs"] == 3
    assert result(tmp_path, name="mlp-2")["fit"]["epochs"] == 2


def test_fit__the_next_command_quotes_its_path(tmp_path, capsys):
    assert run("fit", *MLP, "--run.name", "a b", root=tmp_path) == 0
    assert f"--ckpt_path '{tmp_path / 'digits/a b/checkpoints/best.ckpt'}'" in capsys.readouterr().out


def test_val_fraction_0__the_last_epoch_stands_for_the_best(tmp_path, capsys):
    assert run("fit", *MLP, "--data.val_fraction", "0", root=tmp_path) == 0
    assert "checkpoints/last.ckpt" in capsys.readouterr().out
    assert not (tmp_path / "digits/mlp/checkpoints/best.ckpt").exists()
    assert run("test", "--model", "MLP", root=tmp_path) == 0
    assert "val" not in result(tmp_path)


def test_val_fraction_0__a_resumed_fit_puts_the_earlier_test_aside(tmp_path):
    assert run("fit", *MLP, "--data.val_fraction", "0", root=tmp_path) == 0
    checkpoint = tmp_path / "digits/mlp"
    assert run("test", "--ckpt_path", checkpoint) == 0
    tested = result(tmp_path)
    # nothing is left to be trained: the weights are still those that were tested
    assert run("fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", "2", root=tmp_path) == 0
    assert result(tmp_path)["test"] == tested["test"]
    assert run("fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", "4", root=tmp_path) == 0
    assert result(tmp_path)["fit"]["epochs"] == 4
    assert "test" not in result(tmp_path)
    assert "evaluations" not in result(tmp_path)
    assert not (checkpoint / "predictions.safetensors").exists()
    kept = [json.loads(path.read_text()) for path in checkpoint.glob("result.*.json")]
    assert tested["test"] in [earlier.get("test") for earlier in kept]


def test_rehearsal__leaves_nothing_behind(tmp_path):
    assert run("fit", *MLP, "--trainer.fast_dev_run", "true", root=tmp_path) == 0
    assert not list(tmp_path.iterdir())


def test_loggers__others_come_beside_the_forced_ones(tmp_path):
    args = ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", tmp_path / "more")
    assert run("fit", *MLP, *args, root=tmp_path) == 0
    folder = tmp_path / "digits/mlp"
    assert (folder / "checkpoints/best.ckpt").is_file()
    assert (folder / "metrics.csv").is_file()
    assert list((tmp_path / "more").rglob("metrics.csv"))


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


def test_last_checkpoint__within_epochs_and_at_their_ends(tmp_path):
    # 20 steps an epoch: saved after 15, 20, 30 and 40
    args = ("--model", "MLP", "--trainer.max_epochs", "2", "--last_checkpoint.every_n_train_steps", "15")
    assert run("fit", *args, "--trainer.limit_train_batches", "20", root=tmp_path) == 0
    saved = torch.load(tmp_path / "digits/mlp/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 40
    args = (*args, "--trainer.max_steps", "36", "--run.name", "short")
    assert run("fit", *args, "--trainer.limit_train_batches", "20", root=tmp_path) == 0
    saved = torch.load(tmp_path / "digits/short/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] >= 30


def test_augmentation__a_misspelt_step_is_named(tmp_path, capsys):
    assert run("fit", "--data.augmentation", "[crop, flpi]", root=tmp_path) == 2
    assert "flpi" in capsys.readouterr().err
    assert run("fit", "--data.augmentation", "crop", root=tmp_path) == 2
    assert "takes a list such as [crop], not 'crop'" in capsys.readouterr().err
    assert run("fit", "--data.augmentation", "[crop, resized_crop]", root=tmp_path) == 2
    assert "cannot have both 'crop' and 'resized_crop'" in capsys.readouterr().err


def test_weights__are_needed_for_the_first_fit_alone(tmp_path, capsys):
    assert run("fit", *MLP, "--run.name", "first", root=tmp_path) == 0
    weights = tmp_path / "digits/first/checkpoints/last.ckpt"
    start = ("--model.weights", weights, "--model.freeze", "backbone", "--run.name", "second")
    assert run("fit", *MLP, *start, root=tmp_path) == 0
    weights.rename(tmp_path / "elsewhere")
    path = tmp_path / "digits/second/checkpoints/last.ckpt"
    assert run("test", "--ckpt_path", path) == 0
    assert "test" in result(tmp_path, name="second")
    # the same options with --ckpt_path last continue a run that was cut off
    assert run("fit", *MLP, *start, "--ckpt_path", "last", "--trainer.max_epochs", "3", root=tmp_path) == 0
    assert result(tmp_path, name="second")["fit"]["epochs"] == 3
    # the saved config still says where the run started from
    assert config(tmp_path, name="second")["model"]["init_args"]["weights"] == str(weights)
    first, second = (torch.load(p, weights_only=True)["state_dict"] for p in (tmp_path / "elsewhere", path))
    assert torch.equal(first["backbone.1.weight"], second["backbone.1.weight"])
    assert not torch.equal(first["head.weight"], second["head.weight"])
    capsys.readouterr()
    assert run("fit", *MLP, *start, root=tmp_path) == 2
    assert f"error: --model.weights {weights}: there is no such file" in capsys.readouterr().err


def test_fit__builds_the_model_once(tmp_path, monkeypatch):
    import lightning_modules

    build, built = lightning_modules.MLP.build, []
    monkeypatch.setattr(lightning_modules.MLP, "build", lambda self: (built.append(self), build(self))[1])
    assert run("fit", *MLP, root=tmp_path) == 0
    assert len(built) == 1


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


@pytest.mark.parametrize(
    ("option", "message"),
    [("umap", "--figures.umap needs --figures.embeddings true"), ("grad_cam", "pip install 'francesinha[gradcam]'")],
)
def test_figures__refused_before_a_folder_is_made(option, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("callbacks.drawing.grad_cam.find_spec", lambda name: None)
    assert run("fit", *MLP, f"--figures.{option}", "true", root=tmp_path) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
