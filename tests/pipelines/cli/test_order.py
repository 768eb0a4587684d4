import torch
from safetensors.torch import load_file

from datamodules import Digits
from lightning_modules.checkpoints import load_classifier
from pipelines.cli.order import in_order
from tests.helpers.cli import result, run

MLP = ("--model", "MLP", "--model.hidden", "[16]", "--trainer.max_epochs", "2")


def test_in_order__configs_then_classes_then_their_options():
    args = ["fit", "--model.optimizer.lr=1", "--a", "-1", "-c", "x.yaml", "--model.optimizer", "SGD", "--config=y.yaml"]
    assert in_order(args) == [
        "fit",
        "-c",
        "x.yaml",
        "--config=y.yaml",
        "--a",
        "-1",
        "--model.optimizer",
        "SGD",
        "--model.optimizer.lr=1",
    ]


def test_in_order__a_pair_of_numbers_below_0_is_no_option():
    args = ["fit", "--data", "ImageFolder", "--data.value_range", "-1024,3071"]
    assert in_order(args)[-1] == "--data.value_range=-1024,3071"


def test_in_order__options_of_several_callbacks_stay_with_theirs():
    args = ["fit", "--trainer.callbacks+=A", "--trainer.callbacks.monitor=m", "--trainer.callbacks+=B"]
    assert in_order(args) == args


def test_cli__one_correction_of_the_imbalance_is_enough(tmp_path, capsys):
    sampled = ("--data.sampler", "balanced")
    assert run("fit", *sampled, "--model.loss", "BalancedSoftmax", root=tmp_path) == 2
    assert "--data.sampler balanced and --model.loss BalancedSoftmax both correct" in capsys.readouterr().err
    assert run("fit", *sampled, "--model.logit_adjustment", "1", root=tmp_path) == 2
    assert "--data.sampler balanced and --model.logit_adjustment 1.0 both correct" in capsys.readouterr().err
    words = ("--model.loss.class_weights", "inverse", "--model.logit_adjustment", "1")
    assert run("fit", *words, root=tmp_path) == 2
    assert "--model.logit_adjustment 1.0 and --model.loss" in capsys.readouterr().err


def test_cli__logits_are_adjusted_after_training(tmp_path):
    long_tail = ("--data.long_tail", "exponential", "--data.imbalance_ratio", "20", "--trainer.max_epochs", "1")
    assert run("fit", "--model", "MLP", *long_tail, root=tmp_path) == 0
    path = tmp_path / "digits/mlp/checkpoints/last.ckpt"
    predictions = tmp_path / "digits/mlp/predictions.safetensors"
    assert run("test", "--ckpt_path", path, root=tmp_path) == 0
    plain = load_file(predictions)["test/logits"]
    assert "logit_adjustment" not in result(tmp_path)["evaluations"]["test"]
    assert run("test", "--ckpt_path", path, "--model.logit_adjustment", "1.5", root=tmp_path) == 0
    info = torch.load(path, weights_only=True)["architecture"]["init_args"]["data_info"]
    counts = torch.tensor(info["class_counts"], dtype=torch.float64)
    expected = plain - 1.5 * (counts / counts.sum()).log()
    assert torch.allclose(load_file(predictions)["test/logits"].double(), expected, atol=1e-5)
    assert result(tmp_path)["evaluations"]["test"]["logit_adjustment"] == 1.5


def test_cli__a_single_model_is_tested_over_views(tmp_path, capsys):
    assert run("fit", "--model", "MLP", "--trainer.max_epochs", "1", "--model.hidden", "[8]", root=tmp_path) == 0
    path = tmp_path / "digits/mlp/checkpoints/best.ckpt"
    predictions = tmp_path / "digits/mlp/predictions.safetensors"
    assert run("test", "--ckpt_path", path, root=tmp_path) == 0
    rows, plain = load_file(predictions), result(tmp_path)
    assert "tta" not in plain["evaluations"]["test"]
    capsys.readouterr()
    assert run("test", "--ckpt_path", path, "--model.tta", "flip", root=tmp_path) == 0
    assert "averaged over the views of --model.tta flip" in capsys.readouterr().out
    assert result(tmp_path)["evaluations"]["test"]["tta"] == "flip"
    data, model = Digits(), load_classifier(path)
    samples = data.samples("test")
    images = samples.source.gather(samples.rows)
    with torch.no_grad():
        logits = (model(images), model(images.flip(3)))
    order = samples.ids.argsort()
    mean = ((logits[0].softmax(1) + logits[1].softmax(1)) / 2)[order]
    assert torch.equal(rows["test/id"], samples.ids[order])
    assert torch.allclose(rows["test/logits"], logits[0][order], atol=1e-5)
    assert torch.allclose(load_file(predictions)["test/logits"].exp(), mean, atol=1e-5)


def test_cli__a_loss_knows_the_counts_of_the_data_it_is_trained_on(tmp_path):
    words = ("--model", "MLP", "--trainer.max_epochs", "1")
    assert run("fit", *words, root=tmp_path) == 0
    path = tmp_path / "digits/mlp/checkpoints/last.ckpt"
    tail = ("--data.long_tail", "step", "--data.imbalance_ratio", "10", "--model.loss", "BalancedSoftmax")
    assert run("fit", "--ckpt_path", path, *tail, "--trainer.max_epochs", "2", root=tmp_path) == 0
    new = torch.load(tmp_path / "digits/mlp-2/checkpoints/last.ckpt", weights_only=True)
    counts = new["architecture"]["init_args"]["data_info"]["class_counts"]
    assert counts[0] > 5 * counts[-1]


def test_test__into_another_place_that_the_command_line_names(tmp_path):
    run("fit", *MLP, root=tmp_path)
    checkpoint = tmp_path / "digits/mlp/checkpoints/best.ckpt"
    files = {p: p.read_bytes() for p in (tmp_path / "digits/mlp").rglob("*") if p.is_file()}
    assert run("test", "--ckpt_path", checkpoint, "--run.name", "retested", root=tmp_path / "other") == 0
    assert result(tmp_path / "other", name="retested")["test"]["accuracy"] > 0.3
    assert {p: p.read_bytes() for p in files} == files
    # its own place is no other one
    assert run("test", "--ckpt_path", checkpoint, "--run.name", "mlp", root=tmp_path) == 0
    assert "test" in result(tmp_path)
    assert not (tmp_path / "digits/mlp-2").exists()


def test_resume__by_its_folder_under_another_name_is_refused(tmp_path, capsys):
    run("fit", *MLP, root=tmp_path)
    assert run("fit", "--ckpt_path", tmp_path / "digits/mlp", "--run.name", "other", root=tmp_path) == 2
    assert "continues in that folder, and --run.name names another" in capsys.readouterr().err
