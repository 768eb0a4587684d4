"""Which figures a run draws."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.callbacks import Callback

from callbacks.drawing.base import Drawing
from callbacks.drawing.batch_picture import BatchPicture
from callbacks.drawing.class_distribution import ClassDistribution
from callbacks.drawing.embeddings import Embeddings
from callbacks.drawing.evaluation import Calibration, ConfusionMatrix, Curves, PerClassReport
from callbacks.drawing.folder import FigureFolder
from callbacks.drawing.gallery import Gallery
from callbacks.drawing.grad_cam import GradCam
from callbacks.drawing.learning_curves import LearningCurves
from callbacks.drawing.stack_decisions import StackDecisions
from common.ranges import check_ranges


@dataclass
class FigureOptions:
    """What is drawn into the run's `figures` folder and TensorBoard, at the end of test and validate.

    Args:
        draw: false draws nothing
        fit: draw at the end of fit too: learning curves, and what was predicted on the best epoch's validation
        tensorboard: show figures in TensorBoard too
        confusion_matrix: confusion matrix, as counts and as shares, and the most confused pairs
        per_class: precision, recall, F1, error rate and support of each class, also as a text
        calibration: reliability diagram with the ECE, confidence of right and wrong predictions
        curves: ROC, precision-recall and risk-coverage curves
        gallery: misclassified images, the most confident mistakes, the least confident hits, one random prediction
        stack: of a stack, where it repaired or broke its members' decisions, and the weights of its head
        learning_curves: loss, accuracy, learning rate and throughput of the run's training
        images: how many images of each kind a gallery shows
        embeddings: the penultimate layer in PCA and t-SNE, TensorBoard's projector, how well classes lie apart; takes
            a while
        umap: embeddings in UMAP too; needs the extra umap
        samples: how many samples' embeddings are drawn
        grad_cam: what the network looked at; needs the extra gradcam
        batch: the first training batch after augmentation, when training starts
        class_distribution: images of each class in each split, at the end of fit
    """

    draw: bool = True
    fit: bool = False
    tensorboard: bool = True
    confusion_matrix: bool = True
    per_class: bool = True
    calibration: bool = True
    curves: bool = True
    gallery: bool = True
    stack: bool = True
    learning_curves: bool = True
    images: int = 24
    embeddings: bool = False
    umap: bool = False
    samples: int = 2000
    grad_cam: bool = False
    batch: bool = False
    class_distribution: bool = False

    def __post_init__(self) -> None:
        check_ranges("--figures", self, {"images": "[1, inf)", "samples": "[2, inf)"})
        if self.umap and not self.embeddings:
            raise ValueError("--figures.umap needs --figures.embeddings true")
        # an extra that is missing is named before a run's folder is made
        self.callbacks()

    def callbacks(self) -> list[Callback]:
        """Build the callbacks that draw."""
        if not self.draw:
            return []
        chosen: list[Callback | None] = [
            ConfusionMatrix(self.fit) if self.confusion_matrix else None,
            PerClassReport(self.fit) if self.per_class else None,
            Calibration(self.fit) if self.calibration else None,
            Curves(self.fit) if self.curves else None,
            Gallery(self.images, self.fit) if self.gallery else None,
            StackDecisions() if self.stack else None,
            LearningCurves(self.fit) if self.learning_curves else None,
            Embeddings(self.samples, umap=self.umap) if self.embeddings else None,
            GradCam() if self.grad_cam else None,
            BatchPicture() if self.batch else None,
            ClassDistribution() if self.class_distribution else None,
        ]
        return [callback for callback in chosen if callback is not None]


def with_figures(callbacks: list[Callback], options: FigureOptions, folder: Path, run: Path) -> list[Callback]:
    """Add the callbacks that draw, and tell all of them where to.

    Args:
        callbacks: those of the run; one that draws takes the place of the options' own of its kind
        options: what is drawn
        folder: of the figures
        run: the run's folder, where TensorBoard looks
    """
    given = {type(callback) for callback in callbacks}
    both = [*callbacks, *(callback for callback in options.callbacks() if type(callback) not in given)]
    tell(both, FigureFolder(folder, run, options.tensorboard))
    return both


def tell(callbacks: Iterable[Callback], files: FigureFolder) -> None:
    """Tell callbacks that draw where to."""
    for callback in callbacks:
        if isinstance(callback, Drawing):
            callback.files = files
