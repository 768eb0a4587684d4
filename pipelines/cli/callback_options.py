"""The option `--trainer.callbacks`: one or a list, and which a run of ours does not take."""

from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    LearningRateFinder,
    ProgressBar,
    StochasticWeightAveraging,
    WeightAveraging,
)

from callbacks import (
    BatchLine,
    EarlyStopping,
    EpochLines,
    HParamsMetrics,
    LastCheckpoint,
    LayerTable,
    RandomState,
    RunRecorder,
    TestScalars,
    Throughput,
)
from common import class_paths
from common.ranges import OptionError

OF_EVERY_RUN = (BatchLine, EpochLines, HParamsMetrics, LayerTable, RandomState, RunRecorder, TestScalars, Throughput)
EVERY_RUN = "every run has it: "
# those that are refused, and what does the same
INSTEAD: dict[type[Callback], str] = {
    LearningRateFinder: "a rate that is found within a run is in no record: run `python train.py tune` before",
    BatchSizeFinder: "a batch size that is found within a run is in no record: run `python train.py tune "
    "--tune.batch_size true` before",
    StochasticWeightAveraging: "a run with it ends at other weights when it is resumed: average by --ema.decay 0.999",
    WeightAveraging: "a checkpoint does not distinguish its average from that of --ema: average by --ema.decay 0.999",
    EarlyStopping: f"{EVERY_RUN}set it by --early_stopping.patience",
    LastCheckpoint: f"{EVERY_RUN}set it by --last_checkpoint.every_minutes",
    ProgressBar: "every run has a progress bar: set it by --progress_bar.refresh_rate, or turn it off by "
    "--trainer.enable_progress_bar false",
    **dict.fromkeys(
        (BatchLine, EpochLines, HParamsMetrics, LayerTable, RandomState, RunRecorder, TestScalars, Throughput),
        f"{EVERY_RUN}leave it out",
    ),
}


def instead_of(kind: object) -> str | None:
    """Say why a callback is refused and what to do instead; None if it is taken.

    Args:
        kind: its class
    """
    refused = [text for base, text in INSTEAD.items() if isinstance(kind, type) and issubclass(kind, base)]
    return refused[0] if refused else None


def as_list(value: Any) -> list[Any]:
    """Return an option that takes one thing or a list of them as a list; nothing for null and false."""
    if value is None or value is False:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def check_callbacks(trainer: Namespace) -> None:
    """Refuse callbacks that every run has, or that break what a run keeps.

    Args:
        trainer: its options, as they were parsed

    Raises:
        OptionError: one is refused; the message says what does the same
    """
    for entry in as_list(trainer.callbacks):
        kind = class_paths.import_class(entry["class_path"])
        if instead := instead_of(kind):
            raise OptionError("--trainer.callbacks", f"{kind.__name__}: {instead}")
