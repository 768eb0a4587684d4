"""One job each: what is watched, recorded and drawn while Lightning runs."""

from callbacks.batch_picture import BatchPicture
from callbacks.calibration import Calibration
from callbacks.class_distribution import ClassDistribution
from callbacks.confusion_matrix import ConfusionMatrix
from callbacks.curves import Curves
from callbacks.early_stopping import EarlyStopping
from callbacks.ema import EMA
from callbacks.embeddings import Embeddings
from callbacks.figure_options import FigureOptions
from callbacks.gallery import Gallery
from callbacks.grad_cam import GradCam
from callbacks.hparams import HParamsMetrics
from callbacks.last_checkpoint import LastCheckpoint
from callbacks.learning_curves import LearningCurves
from callbacks.loggers import ResumableCSVLogger
from callbacks.per_class_report import PerClassReport
from callbacks.progress import ProgressBar
from callbacks.random_state import RandomState
from callbacks.recorder import RunRecorder
from callbacks.signals import StoppedError
from callbacks.stack_decisions import StackDecisions
from callbacks.throughput import Throughput

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
