"""TrainedClassifier: a classifier that is trained in epochs, with its loss."""

from torch import Tensor

from common.lazy_seam import lazy
from common.options import configurable, option
from datamodules.loaders import Batch
from lightning_modules.classifier import Classifier
from lightning_modules.trained_model import TrainedModel
from lightning_modules.training.epoch_sums import EpochSums
from lightning_modules.training.losses import CrossEntropy, Loss


@configurable
class TrainedClassifier(TrainedModel, Classifier):
    """A classifier that is trained in epochs.

    Args:
        loss: what is minimised
    """

    loss: Loss = option(lazy(CrossEntropy), "training")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.criterion = self.loss.build(self.info.class_counts)

    @property
    def imbalance_correction(self) -> str | None:
        """The option that corrects the imbalance of the classes; None if none does."""
        return f"--model.loss {self.loss.description}" if self.loss.corrects_imbalance else None

    def batch_loss(self, batch: Batch, sums: EpochSums) -> Tensor:
        """Return the mean loss of a batch, and count its right predictions."""
        labels = batch["label"]
        logits = self.batch_logits(batch)
        # a batch that was mixed has a share of each class
        loss = self.criterion(logits, batch.get("target", labels))
        sums.add(loss, logits, labels)
        return loss

    def epoch_metrics(self, hits: float) -> dict[str, float]:
        """Return the accuracy of an epoch of training."""
        return {"train/accuracy": hits}
