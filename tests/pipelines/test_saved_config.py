"""What a run saves is what it was given, whatever that is."""

import csv
import json

import pytest
import torch
from lightning.pytorch import Callback
from safetensors import safe_open

from common import class_paths
from common.yaml_files import NoYAMLFormError, read_mapping
from pipelines.cells.fit_parser import FitParser
from pipelines.cli.errors import UsageError
from pipelines.cli.order import check_reruns, plain_config
from tests.helpers.cli import run
from tests.helpers.data import write_image_folder

FIT = ("--model", "MLP", "--model.hidden", "[8]", "--trainer.max_epochs", "1")
LIKE_NUMBERS = (
    "12e4",
    "4e12345",
    "1e3",
    "0x1F",
    "1_000",
    "007",
    "2024-01-05",
    "1:30",
    "no",
    "on",
    "=",
    "~x",
)

CPU = torch.device("cpu")
# nothing that YAML has
KINDS = frozenset({object()})


@pytest.fixture(scope="module")
def parser():
    return FitParser()


def saved(parser, *args):
    """Return what a command line would save, once it is read from there."""
    fit = parser._parser("fit")
    content = plain_config(fit, parser.parse(list(args)))
    content = {name: value for name, value in content.items() if name not in ("config", "ckpt_path")}
    check_reruns(fit, content)
    return content


@pytest.mark.parametrize("text", LIKE_NUMBERS)
def test_saved__text_stays_text(parser, text):
    data = (
        "--data",
        "Manifest",
        "--data.path",
        text,
        "--data.leave_out_source",
        text,
        f"--data.class_names=['{text}']",
    )
    logger = ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", text, "--trainer.logger.name", text)
    content = saved(parser, *data, *logger, "--run.name", text, "--run.experiment", text)
    options = content["data"]["init_args"]
    assert (options["path"], options["leave_out_source"], options["class_names"]) == (text, text, [text])
    assert (content["run"]["name"], content["run"]["experiment"]) == (text, text)
    options = content["trainer"]["logger"]["init_args"]
    assert (options["save_dir"], options["name"]) == (text, text)


def test_saved__text_that_yaml_takes_for_a_mapping(parser, tmp_path):
    with pytest.raises(
        UsageError, match=r"--data\.path takes text, and YAML takes yours for a mapping: set it in a con"
    ):
        saved(parser, "--data", "Manifest", "--data.path", "on: off")
    (tmp_path / "a.yaml").write_text("data: {class_path: Manifest, init_args: {path: 'on: off'}}")
    content = saved(parser, "--config", str(tmp_path / "a.yaml"), "--run.name", "on: off")
    assert (content["data"]["init_args"]["path"], content["run"]["name"]) == ("on: off", "on: off")


@pytest.mark.parametrize(
    ("args", "option", "value"),
    [
        (["callbacks+=Timer"], "interval", "step"),
        (["callbacks+=Timer", "callbacks.duration=1:00:00:00"], "duration", "1:00:00:00"),
        (["callbacks+=ModelPruning", "callbacks.pruning_fn=l1_unstructured"], "pruning_fn", "l1_unstructured"),
        (["callbacks+=ModelCheckpoint", "callbacks.train_time_interval=0:01:00"], "train_time_interval", "0:01:00"),
        (
            ["callbacks+=BackboneFinetuning"],
            "lambda_func",
            "lightning.pytorch.callbacks.finetuning.multiplicative",
        ),
        (["plugins+=MixedPrecision", "plugins.precision=16-mixed", "plugins.device=cpu"], "precision", "16-mixed"),
        (["profiler=PyTorchProfiler"], "row_limit", 20),
        (["strategy=DDPStrategy", "strategy.timeout=0:10:00"], "timeout", "0:10:00"),
    ],
)
def test_saved__objects_of_lightning(parser, args, option, value):
    content = saved(parser, *(f"--trainer.{arg}" for arg in args))["trainer"]
    found = content[args[0].split("=")[0].rstrip("+")]
    assert (found[0] if isinstance(found, list) else found)["init_args"][option] == value


@pytest.mark.parametrize(
    "name", ["SGD", "AdamW", "RMSprop", "Adagrad", "NAdam", "Adamax", "ASGD", "Rprop", "torch.optim.Adafactor"]
)
def test_saved__optimizers(parser, name):
    content = saved(parser, "--model.optimizer", name, "--model.optimizer.lr", "1e-3")
    assert content["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 1e-3


def test_check_reruns__names_what_would_change(parser):
    content = saved(parser)
    with pytest.raises(NoYAMLFormError, match=r"trainer.precision: 12 reads back as|could not be read back"):
        check_reruns(parser._parser("fit"), content | {"trainer": content["trainer"] | {"precision": 12}})
    # what YAML of this kind cannot say where anything is taken
    content["trainer"]["max_epochs"] = "5"
    with pytest.raises(NoYAMLFormError, match="would not repeat the run: trainer.max_epochs: '5' reads back as 5"):
        check_reruns(parser._parser("fit"), content)


class Odd(Callback):
    def __init__(self, device: str | torch.device = CPU, what: object = None, kind: set = KINDS):
        """Hold what no option should."""


def test_saved__a_device(parser):
    odd = f"{Odd.__module__}.Odd"
    class_paths.trust("tests")
    content = saved(parser, f"--trainer.callbacks+={odd}", "--trainer.callbacks.kind=[]")
    assert content["trainer"]["callbacks"] == [
        {"class_path": odd, "init_args": {"device": "cpu", "what": None, "kind": []}}
    ]


def test_fit__what_no_config_can_hold_leaves_no_folder(tmp_path, capsys):
    odd = (f"--trainer.callbacks+={Odd.__module__}.Odd", "--trainer.callbacks.what", "1")
    assert run("fit", *FIT, *odd, root=tmp_path / "runs") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == (
        "error: trainer.callbacks[0].init_args.kind is {<object object>}, a set, which a config cannot hold; "
        "give it another value"
    )
    assert not (tmp_path / "runs").exists()


def test_fit__names_that_are_not_utf8(tmp_path, capsys):
    images = write_image_folder(tmp_path / "images", classes=("a", "b"))
    for split in ("train", "test"):
        (images / split / "b").rename(images / split / "b\udce4r")
        file = min((images / split / "a").iterdir())
        file.rename(file.with_name("n\udce4me.png"))
    images = images.rename(tmp_path / "im\udce4ges")
    root, folder = tmp_path / "runs", tmp_path / "runs/image_folder/mlp"
    assert run("inspect", "--data", "ImageFolder", "--data.root", images, root=root, quick=False) == 0
    assert run("fit", *FIT, "--data", "ImageFolder", "--data.root", images, root=root) == 0
    content = read_mapping(folder / "config.yaml")
    assert content["data"]["init_args"]["root"] == str(images)
    assert content["model"]["init_args"]["data_info"]["class_names"] == ["a", "b\udce4r"]
    assert run("fit", "--config", folder / "config.yaml", quick=False) == 0
    again = ("--config", folder / "config.yaml", "--ckpt_path", folder, "--trainer.max_epochs", "2")
    assert run("fit", *again, quick=False) == 0
    capsys.readouterr()
    drawn = ("--figures.draw", "true", "--figures.grad_cam", "false")
    assert run("test", "--ckpt_path", folder, *drawn) == 0
    assert "figure not drawn" not in capsys.readouterr().err
    assert (folder / "figures/test_per_class.png").is_file()
    result = json.loads((folder / "result.json").read_text())
    assert result["class_names"] == ["a", "b\udce4r"]
    with safe_open(folder / "predictions.safetensors", "pt") as file:
        assert "test/logits" in file.keys()  # noqa: SIM118
    assert run("predict", "--ckpt_path", folder, "--data.predict_root", images / "test") == 0
    with (folder / "predicted.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert any("n\udce4me" in "".join(row.values()) for row in rows)


def test_fit__a_run_in_a_folder_that_is_not_utf8_is_refused(tmp_path, capsys):
    assert run("fit", *FIT, "--run.name", "b\udce4r", root=tmp_path / "runs") == 2
    assert "--run.name 'b\\udce4r' must be UTF-8, for TensorBoard" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
