"""One job each: what is watched, recorded and drawn while Lightning runs."""

from callbacks.early_stopping import EarlyStopping
from callbacks.ema import EMA
from callbacks.hparams import HParamsMetrics
from callbacks.loggers import ResumableCSVLogger
from callbacks.progress import ProgressBar
from callbacks.random_state import RandomState
from callbacks.recorder import RunRecorder

__all__ = ["EMA", "EarlyStopping", "HParamsMetrics", "ProgressBar", "RandomState", "ResumableCSVLogger", "RunRecorder"]
