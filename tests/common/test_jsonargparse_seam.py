from typing import Union

import jsonargparse._actions
import jsonargparse._typehints
import jsonargparse._util
import pytest
from jsonargparse import ArgumentParser

from common import jsonargparse_seam as seam
from common.class_paths import UntrustedNameError, judge
from lightning_modules.training.losses import CrossEntropy, Focal, Loss


def test_guard_imports__jsonargparse_asks_before_it_imports(notes):
    for module in (jsonargparse._util, jsonargparse._typehints):
        assert module.check_import_path is judge
    with pytest.raises(UntrustedNameError):
        jsonargparse._util.import_object("notes.Note")
    assert not notes.exists()
    # a name inside an allowed module stands for what it is there
    with pytest.raises(UntrustedNameError, match="system is not imported"):
        jsonargparse._util.import_object("torch.os.system")


def test_guard_imports__an_earlier_name_is_found():
    assert jsonargparse._typehints.import_object("lightning_modules.losses.Focal") is Focal


def test_guard_imports__a_version_that_asks_no_more_fails_loudly(monkeypatch):
    monkeypatch.setattr(jsonargparse._util, "import_object", lambda name: None)
    with pytest.raises(RuntimeError, match="imports classes unasked"):
        seam.guard_imports()


@pytest.mark.parametrize(("owner", "name", "parameters"), seam.REPLACED)
def test_check_version__what_has_another_name_fails_loudly(owner, name, parameters, monkeypatch):
    seam.check_version()
    monkeypatch.delattr(owner, name)
    with pytest.raises(RuntimeError, match=rf"has no \S+\.{name} as it was"):
        seam.check_version()


def test_check_version__other_parameters_fail_loudly(monkeypatch):
    monkeypatch.setattr(jsonargparse._typehints, "discard_init_args_on_class_path_change", lambda one, two: None)
    with pytest.raises(RuntimeError, match="discard_init_args_on_class_path_change as it was"):
        seam.check_version()


def test_reset_options_with_class__is_called(monkeypatch):
    """jsonargparse would keep gamma's neighbours: what is put in its place must be what it calls."""
    seam.reset_options_with_class()
    called, reset = [], seam._discard_all
    monkeypatch.setattr(
        jsonargparse._typehints,
        "discard_init_args_on_class_path_change",
        lambda *parts: called.append(parts) or reset(*parts),
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Loss, "loss")
    words = ("--loss", "CrossEntropy", "--loss.label_smoothing", "0.2", "--loss", "Focal")
    parsed = parser.parse_args(list(words))
    assert called
    assert parsed.loss.init_args.label_smoothing == Focal().label_smoothing != 0.2
    assert isinstance(CrossEntropy(label_smoothing=0.2), Loss)


@pytest.mark.parametrize("kinds", [(float, int, type(None)), (int, float, type(None)), (float, int), (str, float, int)])
def test_whole_numbers_first__a_count_is_no_share(kinds):
    parser = ArgumentParser()
    parser.add_argument("--limit", type=Union[kinds])  # noqa: UP007
    seam.whole_numbers_first(parser)
    for text, value in (("1", 1), ("20", 20), ("0.5", 0.5), ("1.0", 1.0)):
        read = parser.parse_args(["--limit", text]).limit
        # a type that comes before both keeps its place
        expected = text if str in kinds else value
        assert (read, type(read)) == (expected, type(expected))
    if type(None) in kinds:
        assert parser.parse_args(["--limit", "null"]).limit is None


def test_find_quickly__finds_what_jsonargparse_does():
    inner = ArgumentParser(exit_on_error=False)
    inner.add_argument("--config", action="config")
    inner.add_argument("--a.b", "--short", type=int)
    inner.add_subclass_arguments(Loss, "loss")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--version", action="version", version="1")
    parser.add_argument("--info")
    commands = parser.add_subcommands()
    commands.add_subcommand("info", inner)
    names = ["info", "version", "help", "a", "a.b", "short", "loss", "loss.help", "config", "subcommand", "nothing", ""]
    names += [f"info.{name}" for name in names]
    kinds = (None, jsonargparse._actions.ActionConfigFile)
    for owner in (parser, inner):
        for name in names:
            for exclude in kinds:
                assert seam._find_action(owner, name, exclude) == seam._find_slowly(owner, name, exclude)
    # an option that comes later is found too
    inner.add_argument("--later")
    assert seam._find_action(parser, "info.later")[0].dest == "later"
    assert jsonargparse._subcommands.find_action(parser, "info.later").dest == "later"
