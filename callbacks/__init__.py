"""One job each: what is watched, recorded and drawn while Lightning runs."""

from callbacks.drawing.batch_picture import BatchPicture
from callbacks.drawing.class_distribution import ClassDistribution
from callbacks.drawing.embeddings import Embeddings
from callbacks.drawing.evaluation import Calibration, ConfusionMatrix, Curves, PerClassReport
from callbacks.drawing.gallery import Gallery
from callbacks.drawing.grad_cam import GradCam
from callbacks.drawing.learning_curves import LearningCurves
from callbacks.drawing.options import FigureOptions
from callbacks.drawing.stack_decisions import StackDecisions
from callbacks.early_stopping import EarlyStopping
from callbacks.ema import EMA
from callbacks.hparams import HParamsMetrics
from callbacks.last_checkpoint import LastCheckpoint
from callbacks.loggers import ResumableCSVLogger
from callbacks.progress import ProgressBar
from callbacks.random_state import RandomState
from callbacks.recorder import RunRecorder
from callbacks.throughput import Throughput
from common.stopped import StoppedError

__all__ = [
    "EMA",
    "BatchPicture",
    "Calibration",
    "ClassDistribution",
    "ConfusionMatrix",
    "Curves",
    "EarlyStopping",
    "Embeddings",
    "FigureOptions",
    "Gallery",
    "GradCam",
    "HParamsMetrics",
    "LastCheckpoint",
    "LearningCurves",
    "PerClassReport",
    "ProgressBar",
    "RandomState",
    "ResumableCSVLogger",
    "RunRecorder",
    "StackDecisions",
    "StoppedError",
    "Throughput",
]
