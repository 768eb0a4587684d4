"""What a command line asks for: the order in which options win, and what follows from them."""

import re
from pathlib import Path
from typing import Any

import jsonargparse._typehints

# lets jsonargparse read configs from URLs, which is taken back here
import lightning.pytorch.cli  # noqa: F401
from jsonargparse import Namespace, set_parsing_settings

from common import class_paths
from common.spelling import nearest
from datamodules import ImageDataModule
from datamodules.image_files import ImageFiles
from lightning_modules import ImageClassifier, StackingModule
from lightning_modules.metrics import VALIDATION_METRICS, better
from lightning_modules.optim import Plateau
from pipelines import run_dir
from pipelines.class_errors import unknown_class

# a config is a file of this machine, and a value that may be anything is left as it is written
set_parsing_settings(
    config_read_mode_urls_enabled=False, config_read_mode_fsspec_enabled=False, instantiate_subclass_spec_in_any=False
)

CLASSES = ("--model", "--data")
# numbers of which the first is below 0
PAIR = re.compile(r"-[\d.]+,")
# of best.ckpt: one file, looked at after each validation, as result.json is
ONE_BEST = {
    "filename": "best",
    "dirpath": None,
    "save_top_k": 1,
    "every_n_epochs": None,
    "every_n_train_steps": None,
    "train_time_interval": None,
}
# what the optimizer's state in a checkpoint was made by
RESTORED = ("optimizer", "schedule", "backbone_lr_factor", "layer_decay", "decay_norm_and_bias", "freeze")


def in_order(args: list[str]) -> list[str]:
    """Bring a command line into the order in which the parser lets later options win.

    Configs come first, so that the command line beats them wherever they stand; and a class before its options. The
    class chosen on the command line also goes before the configs, so that options in configs are options of it.

    Example:
        >>> in_order(["fit", "--model.lr", "1", "--model", "MLP", "--config", "a.yaml"])
        ['fit', '--model', 'MLP', '--config', 'a.yaml', '--model', 'MLP', '--model.lr', '1']
    """
    groups: list[list[str]] = [[]]
    for arg in args:
        if arg.startswith("--") or arg == "-c":
            groups.append([])
        groups[-1].append(arg)
    command, *options = groups
    # a pair of numbers such as -1024,3071 would be taken for an option
    options = [["=".join(group)] if len(group) == 2 and PAIR.match(group[1]) else group for group in options]

    def name(group: list[str]) -> str:
        return group[0].partition("=")[0]

    def depth(group: list[str]) -> int:
        # sorting keeps the order of equals; other options may depend on theirs
        return name(group).count(".") if name(group).startswith(("--model", "--data")) else 0

    configs = [group for group in options if name(group) in ("--config", "-c")]
    classes = [group for group in options if name(group) in CLASSES]
    others = sorted((group for group in options if group not in configs), key=depth)
    return [*command, *(arg for group in (*classes, *configs, *others) for arg in group)]


def given_checkpoint(args: list[str]) -> str | None:
    """Return the value that a command line gives to `--ckpt_path`; the last one wins."""
    given = None
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        name, equals, value = arg.partition("=")
        if name == "--ckpt_path":
            given = value if equals else following
    return given


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


def reset_options_with_class() -> None:
    """Let a class start from its own defaults when it takes another one's place.

    jsonargparse keeps every option of the class before that the new one accepts, defaults included: CIFAR-10 would be
    served at the size of the digits, and SGD would get AdamW's weight decay. There is no setting for it.
    """
    jsonargparse._typehints.discard_init_args_on_class_path_change = _discard_all


def _discard_all(parser_or_action: Any, previous: Any, value: Any) -> None:
    if previous and "init_args" in previous and previous["class_path"] != value["class_path"]:
        previous["init_args"] = Namespace()


def run_names(config: Namespace) -> tuple[Path, str]:
    """Return the experiment's folder and the run's name that a configuration asks for."""
    model, data = config.model, config.data
    name = run_dir.snake_case(model.class_path.rpartition(".")[2])
    variant = model.init_args.get("variant")
    experiment = config.run.experiment or run_dir.snake_case(data.class_path.rpartition(".")[2])
    return Path(config.run.root) / experiment, config.run.name or (f"{name}_{variant}" if variant else name)


def trained_with(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the model and data that a checkpoint was trained with, as a config.

    Args:
        checkpoint: its content
        path: its file; the bases of a stack that was moved with its runs are found relative to it
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
    return parts


def check_classes(config: Namespace) -> None:
    """Refuse a class that others are built upon, which the parser takes for one that can be built.

    Raises:
        ValueError: the model or the data is one
    """
    for option, bases in (("model", (ImageClassifier,)), ("data", (ImageDataModule, ImageFiles))):
        path = config[option].class_path
        if class_paths.import_class(path) in bases:
            raise ValueError(unknown_class(option, path))


def check_resumed(config: Namespace, trained: Namespace, path: Path) -> None:
    """Refuse another optimizer than the one that is restored with the weights, and would win without a word.

    Args:
        config: of the model, as it is to be trained on
        trained: of the model, as the checkpoint has it
        path: of the checkpoint

    Raises:
        ValueError: an option differs
    """
    options = [name for name in RESTORED if config.init_args.get(name) != trained.init_args.get(name)]
    if options:
        raise ValueError(
            f"{', '.join(f'--model.{name}' for name in options)}: a resumed run goes on with the optimizer and the "
            f"schedule of {path}, and these are others; leave them out, or start from its weights with "
            f"--model.weights {path} in place of --ckpt_path"
        )


def check_imbalance(model: ImageClassifier, data: ImageDataModule) -> None:
    """Refuse to correct the imbalance of the classes twice.

    Raises:
        ValueError: the sampler shows classes in other shares than those that the loss or the adjustment knows
    """
    if data.sampler == "none":
        return
    sampler = f"--data.sampler {data.sampler}"
    both = "both correct the imbalance of the classes, and together they overshoot: use one of them"
    if model.loss.corrects_imbalance:
        raise ValueError(f"{sampler} and --model.loss {model.loss.description} {both}")
    if model.logit_adjustment:
        raise ValueError(f"{sampler} and --model.logit_adjustment {model.logit_adjustment} {both}")


def check_validation(config: Namespace, model: ImageClassifier, data: ImageDataModule) -> None:
    """Refuse what waits for validation where there is none.

    Raises:
        ValueError: early stopping or a schedule watches validation, and no sample is held out for it
    """
    reason = no_validation(config.trainer, model, data)
    if reason is None:
        return
    for option, wanted in (
        ("--early_stopping.patience", config.early_stopping.patience is not None),
        (f"--model.schedule {type(model.schedule).__name__}", isinstance(model.schedule, Plateau)),
    ):
        if wanted:
            raise ValueError(f"{option} needs validation, and {reason}")


def no_validation(trainer: Namespace, model: ImageClassifier, data: ImageDataModule) -> str | None:
    """Say why a fit never validates; None if it does.

    Args:
        trainer: its options
        model: a stack validates on a part of what its head learns from
        data: brings the split
    """
    if not isinstance(model, StackingModule) and not len(data.samples("val")):
        return "no sample is held out for it: set --data.val_fraction"
    if trainer.fast_dev_run:
        return None
    if trainer.limit_val_batches == 0:
        return "--trainer.limit_val_batches 0 leaves it out: set it above 0"
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every is not None and epochs is not None and 0 < epochs < every:
        return f"--trainer.check_val_every_n_epoch {every} comes after --trainer.max_epochs {epochs}: lower the first"
    return None


def check_average(config: Namespace, model: ImageClassifier, checkpoint: dict[str, Any] | None) -> None:
    """Refuse to average what needs no average, and to train an average on as if it were the plain weights.

    Raises:
        ValueError: a stack is to be averaged, or an average of a checkpoint would be lost
    """
    if config.ema.decay is not None and isinstance(model, StackingModule):
        raise ValueError("--ema.decay is not for a stack, whose head is small enough to be trained to its end")
    if config.ema.decay is None and "current_model_state" in (checkpoint or {}):
        raise ValueError(
            f"{config.ckpt_path} holds an average of the weights: go on with --ema.decay, as it was trained, or start "
            f"from the average by --model.weights {config.ckpt_path}"
        )


def check_monitor(config: Namespace) -> None:
    """Refuse a best checkpoint that would keep the worst, or others than the best, or that watches what does not exist.

    Raises:
        ValueError: the metric is not one of validation, or the mode does not fit it, or best.ckpt would not be the best
    """
    if config.monitor not in VALIDATION_METRICS:
        raise ValueError(
            f"--best_checkpoint.monitor must be a validation metric, not {config.monitor!r}"
            + (nearest(str(config.monitor), VALIDATION_METRICS) or f" (known: {', '.join(VALIDATION_METRICS)})")
        )
    mode = better(config.monitor)
    if config.mode != mode:
        raise ValueError(
            f"--best_checkpoint.monitor {config.monitor} with --best_checkpoint.mode {config.mode} would keep the "
            f"worst: use --best_checkpoint.mode {mode}"
        )
    for name, value in ONE_BEST.items():
        if config[name] != value:
            raise ValueError(
                f"--best_checkpoint.{name} {config[name]!r}: best.ckpt holds the best of all epochs, and result.json "
                f"its metrics; leave it out, and save more by a ModelCheckpoint in --trainer.callbacks"
            )
