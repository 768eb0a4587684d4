"""One job each: what is watched, recorded and drawn while Lightning runs."""

from callbacks.batch_line import BatchLine
from callbacks.drawing.base import Drawing
from callbacks.drawing.options import FigureOptions
from callbacks.drawing.table import figure_callbacks
from callbacks.early_stopping import EarlyStopping
from callbacks.ema import EMA
from callbacks.epoch_lines import EpochLines
from callbacks.hparams import HParamsMetrics
from callbacks.last_checkpoint import LastCheckpoint
from callbacks.layer_table import LayerTable
from callbacks.learning_rates import LearningRates
from callbacks.loggers import EventLogger, ResumableCSVLogger
from callbacks.progress import ProgressBar
from callbacks.random_state import RandomState
from callbacks.recorder import RunRecorder
from callbacks.soft_targets import SoftTargets
from callbacks.test_scalars import TestScalars
from callbacks.throughput import Throughput
from common.stopped import StoppedError

__all__ = [
    "EMA",
    "BatchLine",
    "EarlyStopping",
    "EpochLines",
    "EventLogger",
    "FigureOptions",
    "HParamsMetrics",
    "LastCheckpoint",
    "LayerTable",
    "LearningRates",
    "ProgressBar",
    "RandomState",
    "ResumableCSVLogger",
    "RunRecorder",
    "SoftTargets",
    "StoppedError",
    "TestScalars",
    "Throughput",
    # those that draw, such as ConfusionMatrix
    *figure_callbacks(),
]


def __getattr__(name: str) -> type[Drawing]:
    found = figure_callbacks().get(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
