"""One job each: what is watched, recorded and drawn while Lightning runs."""

from callbacks.hparams import HParamsMetrics
from callbacks.loggers import ResumableCSVLogger
from callbacks.progress import ProgressBar
from callbacks.random_state import RandomState
from callbacks.recorder import RunRecorder
from callbacks.throughput import Throughput

__all__ = ["HParamsMetrics", "ProgressBar", "RandomState", "ResumableCSVLogger", "RunRecorder", "Throughput"]
