"""Loggers and callbacks of a run: those that every run has, and the user's."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import Logger

from callbacks import (
    EMA,
    BatchLine,
    EarlyStopping,
    EpochLines,
    EventLogger,
    HParamsMetrics,
    LayerTable,
    ProgressBar,
    RandomState,
    ResumableCSVLogger,
    RunRecorder,
    TestScalars,
    Throughput,
)
from common.terminal import draws
from pipelines.cli.callback_options import as_list
from records.run_dir import RunDir
from records.versions import git_commit, versions


def loggers_of(given: Any, folder: Path, fits: bool) -> list[Logger]:
    """Return a run's loggers.

    Args:
        given: `--trainer.logger`
        folder: the run's
        fits: whether the run is trained; the others log nothing by themselves
    """
    if given is False:
        return []
    forced: list[Logger] = []
    if fits:
        forced = [EventLogger(str(folder)), ResumableCSVLogger(str(folder))]
    return [*forced, *([] if given is True else as_list(given))]


def recording(
    run: RunDir, config: Namespace, resolved: dict[str, Any], changed: list[str], shown: dict[str, Any] | None
) -> list[Callback]:
    """Return the callbacks that record a run; they come before checkpoint callbacks, which save their state.

    Args:
        run: its folder
        config: of the subcommand
        resolved: the same as plain types
        changed: what has changed of the data since the model was trained
        shown: the options that TensorBoard shows of a run that is trained; None for one that is not
    """
    facts = {
        "experiment": run.folder.parent.name,
        "run": run.folder.name,
        "model": config.model.class_path,
        "data": config.data.class_path,
        "seed": config.seed_everything,
        "versions": versions(),
        "git_commit": git_commit(),
    }
    best = config.best_checkpoint
    recorder = RunRecorder(
        run.result, run.predictions, resolved, facts, best.monitor, best.mode, run.data, changed, run.ledger
    )
    if shown is None:
        return [recorder, RandomState(), TestScalars()]
    return [
        recorder,
        RandomState(),
        HParamsMetrics(shown, best.monitor),
        Throughput(),
        BatchLine(),
        EpochLines(best.monitor),
    ]


def kept(
    callbacks: list[Callback], trainer: dict[str, Any], monitor: str, logged: bool, fits: bool, validates: bool
) -> list[Callback]:
    """Return those of the forced callbacks that a run needs.

    Args:
        callbacks: all of them
        trainer: the Trainer's options
        monitor: what the best checkpoint is chosen by
        logged: whether there is a logger
        fits: whether the run is trained
        validates: whether it is validated in training; without that, the last epoch counts as the best
    """
    shows = trainer["enable_progress_bar"] is not False
    saves = fits and trainer["enable_checkpointing"] is not False

    def is_needed(callback: Callback) -> bool:
        match callback:
            case LearningRateMonitor():
                return logged
            case EMA():
                return fits and callback.decay is not None
            case TestScalars():
                return trainer["logger"] is not False
            case EarlyStopping():
                return fits and callback.wanted
            case ModelCheckpoint():
                return saves and (validates or callback.monitor != monitor)
            case ProgressBar():
                return shows and draws()
            case EpochLines():
                return shows and not draws()
            case LayerTable() | BatchLine():
                return fits and trainer["enable_model_summary"] is not False
        return True

    return [callback for callback in callbacks if is_needed(callback)]
