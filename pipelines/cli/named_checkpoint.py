"""The checkpoint that `--ckpt_path` names: its file, its run, and what it was trained with."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from common import class_paths
from lightning_modules.checkpoints import find_model, refuse_lost_best
from pipelines.cli.errors import UsageError
from pipelines.cli.order import run_names
from records import run_dir
from records.run_dir import RunDir, RunOptions

# checkpoints of the run that a configuration names, for which the configuration is parsed first
OF_THE_RUN = (None, "null", "last", "best")


def given_checkpoint(args: list[str]) -> str | None:
    """Return the value that a command line gives to `--ckpt_path`; the last one wins."""
    given = None
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        name, equals, value = arg.partition("=")
        if name == "--ckpt_path":
            given = value if equals else following
    return given


def find_checkpoint(subcommand: str, name: str | None, config: Namespace | None) -> Path:
    """Find the file of a checkpoint.

    Args:
        subcommand: such as test
        name: a file, a run's folder, `last` or `best`
        config: of the subcommand, which names the run; only needed for `OF_THE_RUN`

    Raises:
        FileNotFoundError: the configuration's run has no checkpoint
    """
    if config is None or name not in OF_THE_RUN:
        path = Path(str(name))
        return RunDir(path).last if subcommand == "fit" and path.is_dir() else find_model(path)
    folder, run_name = run_names(config)
    found = run_dir.newest(folder, run_name)
    if found is None:
        raise FileNotFoundError(
            f"no run of {folder / run_name} has a checkpoint: train one with fit, or name one by --ckpt_path FILE"
        )
    return found.last if name == "last" else refuse_lost_best(found.weights)


def options_elsewhere(args: list[str], asked: Namespace, checkpoint: Path) -> list[str]:
    """Return the options of a command line that name another place than the run of a checkpoint.

    Args:
        args: the command line
        asked: its options `--run`, as they were parsed
        checkpoint: path of its file
    """
    run = run_dir.of_checkpoint(checkpoint)
    if run is None:
        return []
    folder = run.folder.resolve()
    own = {"root": folder.parent.parent, "experiment": folder.parent.name, "name": folder.name}
    named = {"root": Path(asked.root).resolve(), "experiment": asked.experiment, "name": asked.name}
    given = {arg.partition("=")[0] for arg in args}
    return [option for part in own if (option := f"--run.{part}") in given and named[part] != own[part]]


def experiment_beside(args: list[str], asked: RunOptions, checkpoint: Path) -> Path | None:
    """Return the folder of the experiment that an evaluation under another name belongs to: the checkpoint's.

    Args:
        args: the command line
        asked: its options `--run`; a root or an experiment that they name is heeded
        checkpoint: path of its file

    Returns:
        the folder; None where the checkpoint lies in no run
    """
    run = run_dir.of_checkpoint(checkpoint)
    if run is None:
        return None
    own = run.folder.parent
    named = asked.root != RunOptions.root or any(arg.partition("=")[0] == "--run.root" for arg in args)
    return (Path(asked.root) if named else own.parent) / (asked.experiment or own.name)


def refuse_elsewhere(name: str | None, elsewhere: list[str], path: Path) -> None:
    """Refuse a fit that continues in a run's folder while its options name another place.

    Args:
        name: what `--ckpt_path` is given
        elsewhere: the options, see `options_elsewhere`
        path: of the checkpoint's file

    Raises:
        UsageError: there are such options
    """
    if elsewhere:
        raise UsageError(
            f"--ckpt_path {name} continues in that folder, and {' and '.join(elsewhere)} names another: leave that "
            f"out, or start a new run with --ckpt_path {path}"
        )


def trained_with(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the model, data and prediction sets that a checkpoint was trained with, as a config.

    Args:
        checkpoint: its content
        path: its file; the members of a stack that was moved with its runs are found relative to it
    """
    config = {name: checkpoint.get("config", {}).get(name) for name in ("model", "data")}
    # one made without the command line knows its model alone
    config["model"] = config["model"] or checkpoint["architecture"]
    parts = {name: {**part, "init_args": dict(part.get("init_args", {}))} for name, part in config.items() if part}
    for part in parts.values():
        # what the data knows is filled in anew
        part["init_args"].pop("data_info", None)
    if "bases" in checkpoint:
        run = run_dir.of_checkpoint(path)
        bases = [Path(base["path"]) for base in checkpoint["bases"]]
        moved = [run.folder / base["relative"] if run else bases[n] for n, base in enumerate(checkpoint["bases"])]
        parts["model"]["init_args"]["bases"] = [
            str(there if there.is_file() else here) for here, there in zip(bases, moved, strict=True)
        ]
    trained: dict[str, Any] = class_paths.up_to_date(parts)
    sets = checkpoint.get("config", {}).get("sets")
    return trained | ({"sets": sets} if sets else {})
