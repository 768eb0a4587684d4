"""Commands from Python: what `python train.py` does, in this process."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from common import class_paths
from engine.allocator import keep_large_blocks
from pipelines.main import make_page, quieten

T = TypeVar("T")
Options = Mapping[str, object]


class CommandError(ValueError):
    """A command cannot be carried out; the message is what `python train.py` prints."""


def fit(options: Options | None = None, config: str | Path | Sequence[str | Path] = ()) -> Path:
    """Train a model, as `python train.py fit` does.

    Args:
        options: of the command line, by name, such as `{"model": "SmallCNN", "data.batch_size": 64}`
        config: configuration files, of which later ones win; options win over all

    Returns:
        the run's folder, which `load` takes

    Raises:
        CommandError: see `python train.py fit`
    """

    def run(words: list[str]) -> Path:
        from pipelines.cli.image_cli import ImageCLI

        return ImageCLI(["fit", *words]).run.folder

    return _carry_out(run, options, config)


def test(path: str | Path, options: Options | None = None) -> Path:  # noqa: PT028  it tests models
    """Evaluate a run, a checkpoint or a stack on the test split, as `python train.py test` does.

    Args:
        path: a run's folder, or a checkpoint
        options: of the command line, by name

    Returns:
        the run's folder, whose result.json has the metrics

    Raises:
        CommandError: see `python train.py test`
    """

    def run(words: list[str]) -> Path:
        from pipelines.cli.image_cli import ImageCLI

        return ImageCLI(["test", *words]).run.folder

    return _carry_out(run, {"ckpt_path": path, **(options or {})}, ())


def stack(options: Options | None = None, config: str | Path | Sequence[str | Path] = ()) -> Path:
    """Train members, stack them on held-out samples and test once, as `python train.py stack` does.

    Members train in processes of their own.

    Args:
        options: of the command line, by name, such as `{"experiment": "mine"}`
        config: plans, of which later ones win; options win over all

    Returns:
        the stack's folder, which `load` takes

    Raises:
        CommandError: see `python train.py stack`
    """

    def run(words: list[str]) -> Path:
        from pipelines.cells.folder import planned_folder
        from pipelines.stack import command

        plan = command.parse(words)
        folder = planned_folder(plan.root, plan.experiment, plan.fresh)
        command.main(words, make_page)
        return folder / plan.stack_name

    return _carry_out(run, options, config)


def sweep(options: Options | None = None, config: str | Path | Sequence[str | Path] = ()) -> Path:
    """Run the cells of a study and compare them, as `python train.py sweep` does.

    Cells run in processes of their own.

    Args:
        options: of the command line, by name, such as `{"axes": {"model.dropout": [0, 0.5]}, "seeds": 3}`
        config: plans, of which later ones win; options win over all

    Returns:
        the study's folder, which `report` takes

    Raises:
        CommandError: see `python train.py sweep`
    """

    def run(words: list[str]) -> Path:
        from pipelines.cells.folder import planned_folder
        from pipelines.sweep import command

        plan = command.parse(words)
        folder = planned_folder(plan.root, plan.experiment, plan.fresh)
        command.main(words, make_page)
        return folder

    return _carry_out(run, options, config)


def report(runs: str | Path | Sequence[str | Path], options: Options | None = None) -> Path:
    """Put runs beside each other in one page, as `python train.py report` does.

    Args:
        runs: folders of runs, of experiments, or above them
        options: of the command line, by name, such as `{"out": "report"}`

    Returns:
        the page

    Raises:
        CommandError: see `python train.py report`
    """
    chosen = {"out": "report", **(options or {})}

    def run(words: list[str]) -> Path:
        from pipelines.report import command
        from pipelines.report.output import PAGE

        command.main([*map(str, _several(runs)), *words])
        return Path(str(chosen["out"])) / PAGE

    return _carry_out(run, chosen, ())


def words_of(options: Options) -> list[str]:
    """Write options as the command line has them.

    Args:
        options: by name, without dashes

    Example:
        >>> words_of({"model": "MLP", "model.hidden": [64], "data.download": True, "run.name": None})
        ['--model=MLP', '--model.hidden=[64]', '--data.download=true', '--run.name=null']
    """
    return [
        f"--{name.removeprefix('--')}={value if isinstance(value, str | Path) else json.dumps(value, default=_plain)}"
        for name, value in options.items()
    ]


def _carry_out(run: Callable[[list[str]], T], options: Options | None, config: str | Path | Sequence[str | Path]) -> T:
    words = [f"--config={path}" for path in _several(config)] + words_of(options or {})
    quieten()
    keep_large_blocks()
    with _told_in_words():
        return run(class_paths.take_options(words))


@contextmanager
def _told_in_words() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        from pipelines.cli.errors import explain

        raise CommandError(explain(error)) from error


def _plain(value: object) -> object:
    # a scalar of numpy or torch; what else has no form in JSON is a path
    return value.item() if hasattr(value, "item") else str(value)


def _several(paths: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [paths] if isinstance(paths, str | Path) else paths
