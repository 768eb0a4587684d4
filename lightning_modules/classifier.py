"""Classifier: a model from a batch to logits, and what is measured of classes."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from common.lightning_seam import trainer_of
from common.options import configurable
from datamodules.base import DataModule
from datamodules.loaders import Batch
from datamodules.prediction_table import PredictionTable
from ensembling.label_check import label_notes
from lightning_modules.model import Model
from measures.by_source import source_entries
from measures.classification import classification_metrics
from measures.conformal import Calibration, calibrate
from measures.intervals import numbered
from measures.problem import Problem, operating_point
from measures.set_coverage import set_report
from measures.set_options import SetOptions


@configurable
class Classifier(Model):
    """A model from images to logits, which knows its data and records in its checkpoint what it has seen.

    A subclass builds its modules in `build` and overrides `forward`.
    """

    output: ClassVar[str] = "logits"

    def __post_init__(self) -> None:
        # what its checkpoint says of held-out samples, and which prediction sets are made by it
        self.calibration: Calibration | None = None
        self.set_options = SetOptions()
        super().__post_init__()

    def check_options(self) -> None:
        """Refuse data with a number for a target, and options that are out of their ranges."""
        super().check_options()
        table = None if self.data_info is None else self.data_info.table
        if table is not None and table.target is not None:
            raise ValueError(
                f"--model {type(self).__name__} predicts classes, and --data.task regression has a number: use --model "
                f"TableRegressor, or --data.task classification"
            )

    @property
    def problem(self) -> Problem:
        """What is known of the classes, which says what is measured."""
        return self.info.problem

    def features(self, images: Tensor) -> Tensor:
        """Compute what the head sees.

        Args:
            images: uint8, shape `(batch, channel, height, width)`

        Returns:
            shape `(batch, dim)`
        """
        raise NotImplementedError(f"{type(self).__name__} must override features()")

    def batch_logits(self, batch: Batch) -> Tensor:
        """Compute the logits of a batch `(batch, class)`; a stack takes them from other inputs."""
        return self(batch[self.reads])

    def accepted(self, logits: Tensor) -> Tensor | None:
        """Tell which predictions are accepted; None where the model rejects nothing.

        Args:
            logits: shape `(sample, class)`

        Returns:
            bool, shape `(sample,)`
        """
        return None

    # evaluation

    def batch_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return the logits of a batch beside what they are compared with."""
        logits = self.batch_logits(batch).float()
        return {name: batch[name] for name in ("id", "label", "source", "target") if name in batch} | {"logits": logits}

    def measured(self, rows: dict[str, Tensor]) -> dict[str, float]:
        """Compute the metrics of a split; soft labels are taken out of its rows."""
        # the loss of soft labels is that of all classes, as in training; metrics take the most probable one
        target = rows.pop("target", rows["label"])
        target = target.double() if target.is_floating_point() else target
        logits = rows["logits"]
        metrics = classification_metrics(logits, rows["label"], self.problem)
        return metrics | {"loss": float(self.criterion(logits.double(), target))}

    def evaluation_notes(self, data: DataModule) -> list[str]:
        """Say whether the predicted classes look like those of the data in another order."""
        rows = self.predictions
        return label_notes(rows["logits"].argmax(1), rows["label"], self.info.class_names)

    def evaluation_entries(self, split: str, data: DataModule, rows: dict[str, Tensor]) -> dict[str, Any]:
        """Return metrics by source, and of the test prediction sets and the threshold of a positive class."""
        entries: dict[str, Any] = {}
        if split == "test":
            entries["test_sets"] = self.tested_sets(data, rows)
            entries |= self.tested_threshold(rows)
        if "source" in rows:
            logits, labels, sources = (rows[name].cpu() for name in ("logits", "label", "source"))
            names, class_names = data.dataset.source_names, self.info.class_names
            entries |= source_entries(split, logits, labels, sources, class_names, names, self.problem)
        return entries

    def tested_sets(self, data: DataModule, rows: dict[str, Tensor]) -> dict[str, Any]:
        """Measure the prediction sets on the samples that were tested.

        Args:
            data: brings the names of the sources
            rows: columns of the predictions
        """
        sources = None
        if self.calibration is not None:
            sources = self.calibration.sources_of(rows.get("source"), data.dataset.source_names)
        columns = (rows["logits"], rows["label"])
        return set_report(
            self.calibration, self.set_options, *columns, self.info.class_names, sources, rows.get("group")
        )

    def tested_threshold(self, rows: dict[str, Tensor]) -> dict[str, Any]:
        """Measure the threshold of a positive class on the samples that were tested; nothing where none is positive.

        Args:
            rows: columns of the predictions
        """
        info = self.info
        if info.positive is None:
            return {}
        logits, labels = rows["logits"].cpu(), rows["label"].cpu()
        groups = numbered(rows["group"].cpu() if "group" in rows else None)
        found = operating_point(self.calibration, logits, labels, info.problem, info.class_names, groups)
        return {"test_threshold": found}

    def prediction_table(self, data: DataModule, split: str, sets: Sequence[str] | None = None) -> PredictionTable:
        """Return what was predicted last, as a table.

        Args:
            data: that was predicted on
            split: of the data
            sets: the text of each prediction set, in the order of the predictions
        """
        samples, rows = data.served(split), self.predictions
        accepted = self.accepted(rows["logits"])
        table = PredictionTable(
            samples, rows["id"], rows["logits"], self.info.class_names, accepted=accepted, sets=sets
        )
        # a data set that names nothing of the samples need not be there
        return table if samples.sources is None and samples.groups is None else table.of(data.dataset)

    # checkpoints

    def current_calibration(self) -> Calibration | None:
        """Return where the true classes of held-out samples stand for these very weights; None where that is unknown.

        Within a fit these are the validation samples. Saved between two validations, the weights are others than those
        that were validated. Samples that a stack's bases were fitted on are not held out.
        """
        trainer = trainer_of(self)
        if trainer is None or trainer.state.fn != "fit":
            return self.calibration
        data = getattr(trainer, "datamodule", None)
        if self.validated_at != trainer.global_step or (self.leakage is not None and self.leakage.problems()):
            return None
        rows, names = self.predictions, data.dataset.source_names if isinstance(data, DataModule) else ()
        return calibrate(rows["logits"], rows["label"], "val", rows.get("source"), names)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the held-out scores, beside what every model records."""
        super().on_save_checkpoint(checkpoint)
        calibration = self.current_calibration()
        if calibration is not None:
            checkpoint["conformal"] = calibration.plain()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the held-out scores, beside what every model remembers."""
        super().on_load_checkpoint(checkpoint)
        if "conformal" in checkpoint:
            self.calibration = Calibration(**checkpoint["conformal"])
