import errno
import threading
from importlib.metadata import version

import pytest

from callbacks import ResumableCSVLogger
from common.cli_seam import BaseCLI
from pipelines.cli import image_cli, parsed_cli
from pipelines.main import main, no_trace_of_logs
from tests.helpers.cli import run


def test_summary__lists_the_commands(capsys):
    assert main([]) == main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*parsed_cli.SUBCOMMANDS, "inspect", "report", "tune", "stack"))


def test_version(capsys):
    assert main(["--version"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("francesinha ")
    assert f"torch {version('torch')}" in printed


@pytest.mark.parametrize("command", ["fit", "report", "test", "tune", "stack"])
def test_help__shows_defaults(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "default:" in printed


def test_help__every_option_has_a_text():
    class Parsed(image_cli.ImageCLI):
        def instantiate_classes(self):
            pass

        def _run_subcommand(self, subcommand):
            pass

        def subcommands(self):
            return BaseCLI.subcommands()

    parsers = Parsed(["fit"])._subcommand_parsers
    assert set(parsers) == {"fit", "validate", "test", "predict"}
    for parser in parsers.values():
        assert [action.option_strings for action in parser._actions if not action.help] == []


def test_help__of_a_model_and_a_data_set(capsys):
    for name, option in (("model", "MLP"), ("data", "ImageFolder")):
        with pytest.raises(SystemExit):
            main(["fit", f"--{name}.help", option])
    printed = capsys.readouterr().out
    for text in ("share of activations dropped", "stratified", "samples in a batch, over all processes"):
        assert text in printed


def test_debug__shows_the_trace(capsys, monkeypatch):
    assert main(["fit", "--nonsense", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("FRANCESINHA_DEBUG", "1")
    main(["fit", "--nonsense"])
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("FRANCESINHA_DEBUG", "0")
    main(["fit", "--nonsense"])
    assert "Traceback" not in capsys.readouterr().err


def test_interrupt__ends_with_130(capsys, monkeypatch):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(image_cli, "ImageCLI", interrupt)
    assert main(["fit"]) == 130


def test_full_disk__names_the_run_whose_log_did_not_fit_and_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    save = ResumableCSVLogger.save

    def full(logger):
        if (tmp_path / "digits/mlp/checkpoints/last.ckpt").is_file():
            raise OSError(errno.ENOSPC, "No space left on device")
        save(logger)

    options = ["--model", "MLP", "--model.hidden", "[16]", "--trainer.max_epochs", "3"]
    with monkeypatch.context() as patch:
        patch.setattr(ResumableCSVLogger, "save", full)
        assert run("fit", *options, root=tmp_path) == 2
    printed = capsys.readouterr()
    assert "digits/mlp could not be written: No space left on device" in printed.err
    assert f"continue:  python train.py fit --config {tmp_path}/digits/mlp/config.yaml --ckpt_path" in printed.out
    assert run("fit", "--ckpt_path", tmp_path / "digits/mlp") == 0


@pytest.mark.parametrize(
    ("module", "printed"), [("tensorboard.summary.writer.event_file_writer", []), ("tests", ["full"])]
)
def test_trace__of_a_log_that_did_not_fit_is_left_out(module, printed, monkeypatch):
    told = []
    monkeypatch.setattr("pipelines.main.PRINT_TRACE", lambda args: told.append(str(args.exc_value)))
    kind = type("Writer", (threading.Thread,), {"__module__": module})
    no_trace_of_logs(threading.ExceptHookArgs((OSError, OSError("full"), None, kind())))
    assert told == printed


def test_refusal__before_the_first_step_leaves_no_folder(tmp_path, capsys):
    options = ["--model", "MLP", "--model.hidden", "[16]", "--trainer.max_epochs", "4"]
    assert run("fit", *options, root=tmp_path) == 0
    stack = ["--model", "StackingModule", "--model.bases", f"[{tmp_path}/digits/mlp]", "--data.stack_fraction", "0.2"]
    assert run("fit", *stack, "--model.logit_cache", "null", root=tmp_path) == 2
    assert "was fitted on" in capsys.readouterr().err
    # Lightning finds that it was trained for longer
    checkpoint = tmp_path / "digits/mlp/checkpoints/last.ckpt"
    assert run("fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", "1", root=tmp_path) == 2
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["mlp"]
