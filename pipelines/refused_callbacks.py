"""Callbacks of `--trainer.callbacks` that a run of ours does not take, and what does the same."""

from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    LearningRateFinder,
    ProgressBar,
    StochasticWeightAveraging,
    WeightAveraging,
)

from callbacks import EarlyStopping, HParamsMetrics, LastCheckpoint, RandomState, RunRecorder, Throughput

EVERY_RUN = "every run has it: "
INSTEAD: dict[type[Callback], str] = {
    LearningRateFinder: "a rate that is found within a run is in no record: run `python train.py tune` before",
    BatchSizeFinder: "a batch size that is found within a run is in no record: run `python train.py tune "
    "--tune.batch_size true` before",
    StochasticWeightAveraging: "a run with it does not end alike when it is resumed: average by --ema.decay 0.999",
    WeightAveraging: "its average is not told from that of --ema in a checkpoint: average by --ema.decay 0.999",
    EarlyStopping: f"{EVERY_RUN}set it by --early_stopping.patience",
    LastCheckpoint: f"{EVERY_RUN}set it by --last_checkpoint.every_minutes",
    ProgressBar: "every run has a progress bar: set it by --progress_bar.refresh_rate, or turn it off by "
    "--trainer.enable_progress_bar false",
    **dict.fromkeys((HParamsMetrics, RandomState, RunRecorder, Throughput), f"{EVERY_RUN}leave it out"),
}


def instead_of(kind: object) -> str | None:
    """Say why a callback is refused and what to do instead; None if it is taken.

    Args:
        kind: its class
    """
    refused = [text for base, text in INSTEAD.items() if isinstance(kind, type) and issubclass(kind, base)]
    return refused[0] if refused else None
