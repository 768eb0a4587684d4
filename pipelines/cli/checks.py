"""Options that contradict each other, refused before anything runs."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from common import class_paths
from common.spelling import nearest
from datamodules import DataModule
from lightning_modules import Classifier, Model, TrainedModel
from lightning_modules.training.schedules import Plateau
from measures.names import (
    POSITIVE_METRICS,
    PROBLEM_METRICS,
    REGRESSION_METRICS,
    TRAINING_METRICS,
    VALIDATION_METRICS,
    mode_of,
)
from measures.problem import names_of
from pipelines.cli.order import no_validation

# fixed settings of best.ckpt: one file, chosen after each validation, as result.json is
ONE_BEST = {
    "filename": "best",
    "dirpath": None,
    "save_top_k": 1,
    "every_n_epochs": None,
    "every_n_train_steps": None,
    # last.ckpt is written by a callback of its own
    "save_last": None,
    "train_time_interval": None,
}


# the options that the optimizer's state in a checkpoint depends on
RESTORED = (
    "optimizer",
    "schedule",
    "backbone_lr_factor",
    "layer_decay",
    "decay_norm_and_bias",
    "freeze",
    "lr_scaling",
    "lr_batch",
)


def check_resumed(config: Namespace, trained: Namespace, path: Path) -> None:
    """Refuse another optimizer than the one that is restored with the weights and would silently win.

    Args:
        config: of the model, as it is to be trained on
        trained: of the model, as the checkpoint has it
        path: of the checkpoint

    Raises:
        ValueError: an option differs
    """
    # a class may be typed by the name of its module
    now, then = (class_paths.with_public_names(model.init_args.as_dict()) for model in (config, trained))
    options = [name for name in RESTORED if now.get(name) != then.get(name)]
    if options:
        raise ValueError(
            f"{', '.join(f'--model.{name}' for name in options)}: a resumed run continues with the optimizer and the "
            f"schedule of {path}, and these are others; leave them out, or start from its weights with "
            f"--model.weights {path} in place of --ckpt_path"
        )


def check_imbalance(model: Model, data: DataModule) -> None:
    """Refuse to correct the imbalance of the classes twice.

    Raises:
        ValueError: the sampler shows classes in other shares than those that the loss or the adjustment knows
    """
    if data.sampler == "none":
        return
    sampler = f"--data.sampler {data.sampler}"
    both = "both correct the imbalance of the classes, and together they overshoot: use one of them"
    if model.imbalance_correction is not None:
        raise ValueError(f"{sampler} and {model.imbalance_correction} {both}")


def follow_model(config: Namespace) -> None:
    """Let the metric that a model's epochs are chosen by be the model's own, unless an option names another one.

    Args:
        config: of the subcommand, which is changed
    """
    own, best = class_paths.import_class(config.model.class_path).monitor, config.best_checkpoint
    if best.monitor == f"val/{Model.monitor}" and own != Model.monitor:
        best.monitor, best.mode = f"val/{own}", mode_of(f"val/{own}")


def check_watched(config: Namespace, model: Model, data: DataModule) -> None:
    """Refuse to watch a metric that these data do not have.

    Raises:
        ValueError: the message names the option that brings it
    """
    watched = {"--best_checkpoint.monitor": config.best_checkpoint.monitor}
    if config.early_stopping.patience is not None:
        watched["--early_stopping.monitor"] = config.early_stopping.monitor
    if isinstance(model, TrainedModel) and isinstance(model.schedule, Plateau):
        watched["--model.schedule.monitor"] = model.schedule.monitor
    predicts_number = not isinstance(model, Classifier)
    if predicts_number:
        known = [f"val/{name}" for name in ("loss", *REGRESSION_METRICS)]
        for option, monitor in watched.items():
            if monitor not in (*known, *TRAINING_METRICS):
                raise ValueError(f"{option} {monitor} is of classes, and a number is predicted: use {', '.join(known)}")
        return
    there = names_of(data.info.problem, data.info.num_classes)
    for option, monitor in watched.items():
        name = str(monitor).removeprefix("val/")
        if name in REGRESSION_METRICS:
            raise ValueError(f"{option} {monitor} is of predicted numbers: it needs a model such as TableRegressor")
        if name in PROBLEM_METRICS and name not in there:
            needs = {**dict.fromkeys(POSITIVE_METRICS, "--data.positive_class"), "brier_binary": "data of 2 classes"}
            raise ValueError(f"{option} {monitor} needs {needs.get(name, '--data.ordinal true')}")


def check_validation(config: Namespace, model: Model, data: DataModule) -> None:
    """Refuse what waits for validation where there is none.

    Raises:
        ValueError: early stopping or a schedule watches validation, and no sample is held out for it
    """
    reason = no_validation(config.trainer, model, data)
    if reason is None:
        return
    of_training = config.early_stopping.monitor in TRAINING_METRICS
    for option, wanted in (
        ("--early_stopping.patience", config.early_stopping.patience is not None and not of_training),
        (f"--model.schedule {type(model.schedule).__name__}", isinstance(model.schedule, Plateau)),
    ):
        if wanted:
            raise ValueError(f"{option} needs validation, and {reason}")


def check_average(config: Namespace, model: Model, checkpoint: dict[str, Any] | None) -> None:
    """Refuse to average a stack's head, and to train averaged weights as if they were the plain ones.

    Raises:
        ValueError: a stack is to be averaged, or an average of a checkpoint would be lost
    """
    if config.ema.decay is not None and model.is_stack:
        raise ValueError("--ema.decay is not for a stack, whose head is small enough to be trained to its end")
    if config.ema.decay is None and "current_model_state" in (checkpoint or {}):
        raise ValueError(
            f"{config.ckpt_path} holds an average of the weights: continue with --ema.decay, as it was trained, or "
            f"start from the average by --model.weights {config.ckpt_path}"
        )


def check_monitor(config: Namespace) -> None:
    """Refuse options by which best.ckpt would not hold the best epoch, or would watch a metric that does not exist.

    Raises:
        ValueError: the metric is not one of validation, or the mode does not fit it, or best.ckpt would not be the best
    """
    if config.monitor not in VALIDATION_METRICS:
        raise ValueError(
            f"--best_checkpoint.monitor must be a validation metric, not {config.monitor!r}"
            + (nearest(str(config.monitor), VALIDATION_METRICS) or f" (known: {', '.join(VALIDATION_METRICS)})")
        )
    mode = mode_of(config.monitor)
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
