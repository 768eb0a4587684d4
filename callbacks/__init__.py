"""One job each: what is watched, recorded and drawn while Lightning runs."""

from callbacks.early_stopping import EarlyStopping
from callbacks.ema import EMA
from callbacks.hparams import HParamsMetrics
from callbacks.last_checkpoint import LastCheckpoint
from callbacks.loggers import ResumableCSVLogger
from callbacks.progress import ProgressBar
from callbacks.random_state import RandomState
from callbacks.recorder import RunRecorder
from callbacks.signals import StoppedError
from callbacks.throughput import Throughput

__all__ = [
    "EMA",
    "EarlyStopping",
    "HParamsMetrics",
    "LastCheckpoint",
    "ProgressBar",
    "RandomState",
    "ResumableCSVLogger",
    "RunRecorder",
    "StoppedError",
    "Throughput",
]
