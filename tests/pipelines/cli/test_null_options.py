from dataclasses import dataclass

import pytest
import torch

from pipelines.cli.null_options import never_null
from tests.helpers.cli import run


@dataclass
class Options:
    always: int = 1
    perhaps: int | None = 2
    nothing: str = None
    words: tuple[str, ...] = ("a",)


def test_never_null__by_type_and_default():
    assert dict(never_null(Options)) == {"always": 1, "words": ("a",)}
    known = dict(never_null(torch.optim.AdamW))
    assert known["lr"] == 1e-3
    assert "foreach" not in known


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data.subsample null", "--data.subsample must not be null: leave it out for its default, 1.0"),
        ("--model null", "--model must not be null: leave it out for its default"),
        ("--model.loss null", "--model.loss must not be null: leave it out for its default"),
        ("--model.loss.label_smoothing null", "--model.loss.label_smoothing takes float, not 'None'"),
        ("--model.optimizer.lr null", "--model.optimizer.lr takes float, not 'None'"),
        ("--trainer.max_steps null", "--trainer.max_steps takes int, not 'None'"),
    ],
)
def test_fit__names_an_option_that_is_null_and_may_not_be(words, message, tmp_path, capsys):
    assert run("fit", *words.split()) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["--model.schedule null", "--trainer.max_time null", "--model.input_size null"])
def test_fit__null_where_it_means_something(words, tmp_path):
    assert run("fit", "--model", "Linear", "--trainer.fast_dev_run", "true", *words.split(), root=tmp_path) == 0
