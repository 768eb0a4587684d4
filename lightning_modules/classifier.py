"""Classifier: what every model has, whether it is trained or not: the data it knows, and what its checkpoint says."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields
from typing import Any, ClassVar

from torch import Tensor

from common import class_paths
from common.lightning_seam import trainer_of
from common.options import configurable, role_of
from common.ranges import check_ranges
from datamodules.base import DataModule
from datamodules.info import DataInfo
from datamodules.loaders import Batch
from datamodules.prediction_table import PredictionTable
from datamodules.provenance import Provenance
from ensembling.leakage import Leakage
from lightning_modules.evaluated import EvaluatedModule
from measures.conformal import Calibration, calibrate
from measures.problem import Problem
from measures.set_options import SetOptions


@configurable
class Classifier(EvaluatedModule):
    """A model from images to logits, which knows its data and records in its checkpoint what it has seen.

    A subclass builds its modules in `build` and overrides `forward`.

    Args:
        data_info: what the data knows (classes, channels, size, normalisation); filled in from the data
    """

    data_info: DataInfo | None = None

    # what numbers its options take; those of a subclass add theirs
    ranges: ClassVar[dict[str, str]] = {}
    # whether it is a head over other models, which are its members
    is_stack: ClassVar[bool] = False
    # whether it is trained on logits that are computed once, and not on images
    learns_from_logits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__init__()
        self.check_options()
        self.provenance: Provenance | None = None
        # what its checkpoint says of the data that it was trained on
        self.trained_on: dict[str, Any] | None = None
        # after how many steps the weights of its checkpoint were saved
        self.trained_steps = 0
        # for a stack: what its members had seen of the samples that its head was fitted on
        self.leakage: Leakage | None = None
        # what its checkpoint says of held-out samples, and which prediction sets are made by it
        self.calibration: Calibration | None = None
        self.set_options = SetOptions()
        self.build()

    def check_options(self) -> None:
        """Refuse options that are out of their ranges, or contradict each other.

        Raises:
            ValueError: the message names them
        """
        check_ranges("--model", self, self.ranges)

    def check_trainable(self) -> None:
        """Refuse to be trained, where a model is not.

        Raises:
            ValueError: it is not; the message says what to do instead
        """
        raise ValueError(f"a {type(self).__name__} is not trained: use it with validate, test or predict")

    def unvalidated(self, data: DataModule) -> str | None:
        """Say why no sample is held out to validate it in a fit; None if some are.

        Args:
            data: brings the splits
        """
        return None if len(data.samples("val")) else "no sample is held out for it: set --data.val_fraction"

    def build(self) -> None:
        """Build the modules."""
        raise NotImplementedError(f"{type(self).__name__} must override build()")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the model takes, in pixels."""
        return self.info.image_size

    @property
    def member_names(self) -> list[str]:
        """Names of the models whose logits the head combines; empty for a model that is no stack."""
        return []

    @property
    def member_results(self) -> list[dict[str, Any]]:
        """Metrics of each member on the samples that were tested last."""
        return []

    @property
    def frozen_parameters(self) -> int:
        """How many parameters of other models it needs beside its own."""
        return 0

    @property
    def solved(self) -> bool:
        """Whether it is solved at once, rather than trained in epochs."""
        return False

    @property
    def imbalance_correction(self) -> str | None:
        """The option that corrects the imbalance of the classes; None if none does."""
        return None

    @property
    def evaluation_facts(self) -> dict[str, Any]:
        """Notes to print beside its metrics, on options that change them at evaluation only."""
        # an option of the models that offer it
        views = getattr(self, "tta", "none")
        return {"tta": views} if views != "none" else {}

    @property
    def beside_weights(self) -> list[Any]:
        """What else its logits depend on, of plain types; the ledger of tests knows a model by this and its weights."""
        return [self.evaluation_facts]

    @property
    def info(self) -> DataInfo:
        """What the data knows, which must have been given by now."""
        if self.data_info is None:
            raise ValueError(f"{type(self).__name__} needs data_info: pass data_info=datamodule.info")
        return self.data_info

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one image's output by the name of each layer, as far as it is known."""
        return {}

    @property
    def problem(self) -> Problem:
        """What is known of the classes."""
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
        return self(batch["image"])

    def accepted(self, logits: Tensor) -> Tensor | None:
        """Tell which predictions are accepted; None where the model rejects nothing.

        Args:
            logits: shape `(sample, class)`

        Returns:
            bool, shape `(sample,)`
        """
        return None

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

    @property
    def rejection_notes(self) -> list[str]:
        """What was asked of the rejection and could not be reached."""
        return []

    # checkpoints

    def architecture(self) -> dict[str, Any]:
        """Return what is needed to rebuild this model without its weights, as plain Python types."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if role_of(self, f.name) != "training"}
        options["data_info"] = self.info.plain()
        return {"class_path": class_paths.public_name(type(self)), "init_args": options}

    def current_provenance(self) -> Provenance | None:
        """Return which samples this model is being fitted and selected on; None without a DataModule."""
        data = getattr(trainer_of(self), "datamodule", None)
        return data.provenance if isinstance(data, DataModule) else None

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
        """Record how to rebuild the model, which samples it was fitted and selected on, and its held-out scores."""
        checkpoint["architecture"] = deepcopy(self.architecture())
        checkpoint["parameters"] = sum(p.numel() for p in self.parameters())
        data = getattr(trainer_of(self), "datamodule", None)
        if isinstance(data, DataModule):
            checkpoint["data_record"] = data.record.plain()
        calibration = self.current_calibration()
        if calibration is not None:
            checkpoint["conformal"] = calibration.plain()
        now = self.current_provenance()
        record = now.union(self.provenance) if now else self.provenance
        if record is not None:
            checkpoint["provenance"] = record.plain()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the samples that the weights have seen already, what leaked, and the held-out scores."""
        self.trained_on = checkpoint.get("data_record")
        self.trained_steps = int(checkpoint.get("global_step", 0))
        path = getattr(trainer_of(self), "ckpt_path", None)
        self.provenance = Provenance.from_plain(checkpoint.get("provenance"), str(path or "a checkpoint"))
        if "conformal" in checkpoint:
            self.calibration = Calibration(**checkpoint["conformal"])
        if "leakage" in checkpoint:
            self.leakage = Leakage(**checkpoint["leakage"])
