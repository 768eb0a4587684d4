import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.cli import MLP, config, result, run


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


def test_fit__the_next_command_quotes_its_path(tmp_path, capsys):
    assert run("fit", *MLP, "--run.name", "a b", root=tmp_path) == 0
    assert f"--ckpt_path '{tmp_path / 'digits/a b/checkpoints/best.ckpt'}'" in capsys.readouterr().out


def test_val_fraction_0__the_last_epoch_stands_for_the_best(tmp_path, capsys):
    assert run("fit", *MLP, "--data.val_fraction", "0", root=tmp_path) == 0
    assert "checkpoints/last.ckpt" in capsys.readouterr().out
    assert not (tmp_path / "digits/mlp/checkpoints/best.ckpt").exists()
    assert run("test", "--model", "MLP", root=tmp_path) == 0
    assert "val" not in result(tmp_path)


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


def test_fit__builds_the_model_once(tmp_path, monkeypatch):
    import lightning_modules

    build, built = lightning_modules.MLP.build, []
    monkeypatch.setattr(lightning_modules.MLP, "build", lambda self: (built.append(self), build(self))[1])
    assert run("fit", *MLP, root=tmp_path) == 0
    assert len(built) == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [("umap", "--figures.umap needs --figures.embeddings true"), ("grad_cam", "pip install 'francesinha[gradcam]'")],
)
def test_figures__refused_before_a_folder_is_made(option, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("callbacks.drawing.grad_cam.find_spec", lambda name: None)
    assert run("fit", *MLP, f"--figures.{option}", "true", root=tmp_path) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
