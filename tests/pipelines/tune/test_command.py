import pytest
import torch
import yaml

from pipelines.tune.command import TuneCLI
from pipelines.tune.range_test import RangeTest
from pipelines.tune.timing import Bench, Candidate, Measurement
from tests.helpers.cli import config, run

QUICK = ("--tune.rounds", "1", "--tune.seconds", "0.01", "--tune.loss_steps", "4", "--tune.lr_steps", "20")
MLP = ("--model", "MLP", "--model.hidden", "[8]", "--data.batch_size", "32")


@pytest.fixture
def half_wins(monkeypatch):
    """Timings that do not depend on the machine: bfloat16 with channels last is three times as fast."""

    def measure(self, tried, *args):
        losses = [1.0] * 8
        return [
            Measurement(c, [300.0 if c == Candidate("bf16-mixed", "channels_last") else 100.0], losses) for c in tried
        ]

    monkeypatch.setattr(Bench, "measure", measure)


def test_tune__measures_and_writes_a_fragment(tmp_path, capsys):
    batch = ("--tune.batch_size", "true", "--tune.max_batch_size", "64")
    assert run("tune", *MLP, *QUICK, *batch, root=tmp_path) == 0
    folder = tmp_path / "digits/tune"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} <= {
        "tune.yaml",
        "figures/lr_curve.png",
    }
    found = yaml.safe_load((folder / "tune.yaml").read_text())
    assert found["trainer"]["precision"] in ("32-true", "bf16-mixed")
    assert found["model"]["class_path"] == "lightning_modules.MLP"
    assert found["model"]["init_args"]["memory_format"] in ("contiguous", "channels_last")
    assert found["data"]["init_args"] == {"batch_size": 64}
    printed = capsys.readouterr().out
    for text in ("images/s", "channels_last", "bf16-mixed", "chosen", "largest batch that fits: 64", "learning rate:"):
        assert text in printed
    assert f"fit --model MLP --model.hidden '[8]' --run.root {tmp_path}" in printed
    assert f"--config {folder / 'tune.yaml'}" in printed
    # nor does the command line win over what was found
    assert "--tune." not in printed.split("next:")[1]
    assert "--data.batch_size" not in printed.split("next:")[1]


def test_tune__the_fragment_trains(tmp_path, half_wins, monkeypatch):
    rates = torch.logspace(-6, 1, 100).tolist()
    found = RangeTest(rates, [2 / (1 + rate / 1e-3) + rate for rate in rates])
    monkeypatch.setattr("pipelines.tune.command.find_learning_rate", lambda *_: found)
    assert (
        run("tune", *MLP, *QUICK, "--model.optimizer", "SGD", "--model.optimizer.momentum", "0.9", root=tmp_path) == 0
    )
    fragment = tmp_path / "digits/tune/tune.yaml"
    rate = yaml.safe_load(fragment.read_text())["model"]["init_args"]["optimizer"]["init_args"]["lr"]
    mine = tmp_path / "mine.yaml"
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5, "momentum": 0.9}}
    model = {"class_path": "MLP", "init_args": {"hidden": [8], "optimizer": optimizer}}
    mine.write_text(yaml.safe_dump({"model": model}))
    assert run("fit", "--config", mine, "--config", fragment, "--trainer.max_epochs", "1", root=tmp_path) == 0
    trained = config(tmp_path)
    assert trained["trainer"]["precision"] == "bf16-mixed"
    options = trained["model"]["init_args"]
    assert (options["memory_format"], options["torch_compile"], options["hidden"]) == ("channels_last", False, [8])
    # the user's other options stay
    assert options["optimizer"]["init_args"]["lr"] == rate
    assert options["optimizer"]["init_args"]["momentum"] == 0.9
    assert trained["data"]["init_args"]["batch_size"] == 64


def test_tune__an_earlier_fragment_is_kept(tmp_path, half_wins):
    out = tmp_path / "deep/found.yaml"
    alone = ("--tune.learning_rate", "false", "--tune.out", out)
    assert run("tune", *MLP, *alone, root=tmp_path) == 0
    first = out.read_text()
    assert run("tune", *MLP, "--data.batch_size", "16", *alone, root=tmp_path) == 0
    assert (tmp_path / "deep/found.1.yaml").read_text() == first
    assert "optimizer" not in yaml.safe_load(first)["model"]["init_args"]
    assert "data" not in yaml.safe_load(first)


def test_tune__interrupted_leaves_nothing(tmp_path, monkeypatch, capsys):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def interrupt(*args):
        assert list(temporary.iterdir())
        raise SystemExit(1)

    monkeypatch.setattr("pipelines.tune.command.find_learning_rate", interrupt)
    assert run("tune", *MLP, "--tune.compute", "false", root=tmp_path / "runs") == 130
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--tune.round", "3"), "unknown option '--tune.round'; did you mean --tune.rounds?"),
        (("--model.hiden", "[3]"), "unknown option --model.hiden; did you mean hidden?"),
        (("--tune.rounds", "0"), "--tune.rounds must be at least 1, not 0"),
        (("--tune.seconds", "0"), "--tune.seconds must be above 0"),
        (("--tune.compute", "false", "--tune.compile", "true"), "--tune.compile true needs --tune.compute true"),
        (("--tune.compute", "false", "--tune.learning_rate", "false"), "nothing to do"),
        (("--tune.out", "."), "--tune.out . is a folder"),
    ],
)
def test_tune__bad_options(args, message, tmp_path, capsys):
    assert run("tune", *MLP, *args, root=tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert not (tmp_path / "digits").exists()


def test_tune__refuses_a_checkpoint(tmp_path, capsys):
    assert run("fit", *MLP, "--trainer.max_epochs", "1", root=tmp_path) == 0
    path = tmp_path / "digits/mlp/checkpoints/last.ckpt"
    assert run("tune", "--ckpt_path", path, root=tmp_path) == 2
    assert "leave out --ckpt_path" in capsys.readouterr().err


def test_tune__one_process_gets_its_share_of_the_batch(tmp_path, half_wins, monkeypatch):
    sizes = []

    def found(bench, candidate, most, report):
        sizes.append((bench.data.batch_size, most))
        return 24

    monkeypatch.setattr("pipelines.tune.command.find_batch_size", found)
    options = ("--tune.learning_rate", "false", "--tune.batch_size", "true", "--tune.max_batch_size", "100")
    assert run("tune", *MLP, *options, "--trainer.devices", "2", root=tmp_path) == 0
    assert sizes == [(16, 50)]
    content = yaml.safe_load((tmp_path / "digits/tune/tune.yaml").read_text())
    assert content["data"]["init_args"]["batch_size"] == 48


def test_help__of_every_option():
    class Parsed(TuneCLI):
        def instantiate_classes(self):
            pass

        def _run_subcommand(self, subcommand):
            pass

    parser = Parsed([])._subcommand_parsers["fit"]
    tune = [action for action in parser._actions if any(o.startswith("--tune.") for o in action.option_strings)]
    assert len(tune) == 10
    assert all(action.help for action in tune)
