"""A figure is added in two places: the function that draws it, and a line of the table."""

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure

import callbacks
from callbacks.drawing.options import FigureOptions, help_of, options_of, with_figures
from callbacks.drawing.table import FIGURES, of_predictions
from common.class_paths import import_class, public_name, take_options
from lightning_modules import MLP
from tests.helpers.cli import run
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


# the first place
def made_up(evaluated):
    """Draw nothing but a title."""
    figure = Figure(figsize=(3, 2))
    figure.suptitle(evaluated.title)
    yield "made_up", figure


ADDED = of_predictions(made_up)
# parsers list all callbacks of this process, each of which they can import
MadeUp = ADDED.kind


@pytest.fixture
def options(monkeypatch):
    """The options of all figures, with a made-up one."""
    # the second place
    monkeypatch.setitem(FIGURES, "made_up", ADDED)
    return options_of(FIGURES)


def names_of(folder):
    return {path.name for path in folder.glob("*")}


@pytest.mark.parametrize("wanted", [True, False])
def test_added__is_drawn_and_optional(options, wanted, tmp_path):
    only = dict.fromkeys(FIGURES, False) | {"made_up": wanted}
    drawing = with_figures([], options(**only, tensorboard=False), tmp_path / "figures", tmp_path)
    data = Blobs()
    trainer(tmp_path, callbacks=drawing).test(MLP(data_info=data.info, hidden=[8]), datamodule=data, verbose=False)
    assert names_of(tmp_path / "figures") == ({"test_made_up.png"} if wanted else set())


def test_added__is_an_option_with_its_help_and_a_callback(options):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(options, "figures")
    parser.add_argument("--callback", type=Callback)
    shown = " ".join(parser.format_help().split())
    assert "--figures.made_up {true,false} draw nothing but a title" in shown
    assert "--figures.images IMAGES how many images of each kind a gallery shows" in shown
    # values may name the tests' own classes
    take_options(["--allow", "tests"])
    parsed = parser.parse_args(["--figures.made_up", "false", "--callback", "MadeUp", "--callback.fit", "true"])
    assert parsed.figures.made_up is False
    built = parser.instantiate(parsed)
    assert type(built.callback) is callbacks.MadeUp is MadeUp
    assert built.callback.fit is True
    assert built.figures.confusion_matrix is True


def test_added__on_the_command_line(options, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.cli.parsed_cli.FigureOptions", options)
    mlp = ("--model", "MLP", "--model.hidden", "[8]", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
    assert run("fit", *mlp, "--figures.made_up", "true", "--figures.fit", "true", root=tmp_path) == 0
    assert "val_made_up.png" in names_of(tmp_path / "digits/mlp/figures")
    assert "made_up: true" in (tmp_path / "digits/mlp/config.yaml").read_text()


@pytest.mark.parametrize("name", FIGURES)
def test_figures__each_has_a_help_text_and_a_public_callback(name):
    figure = FIGURES[name]
    assert help_of(figure).startswith("draw ")
    assert figure.kind.__name__ in callbacks.__all__
    assert getattr(callbacks, figure.kind.__name__) is figure.kind
    assert getattr(FigureOptions(), name) is figure.default


def test_callbacks__other_names_are_missing():
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        getattr(callbacks, "Nonsense")  # noqa: B009


@pytest.mark.parametrize("module", ["callbacks", "callbacks.confusion_matrix", "callbacks.drawing.evaluation"])
def test_callbacks__names_of_earlier_versions(module):
    kind = import_class(f"{module}.ConfusionMatrix")
    assert kind is FIGURES["confusion_matrix"].kind
    assert public_name(kind) == "callbacks.ConfusionMatrix"
