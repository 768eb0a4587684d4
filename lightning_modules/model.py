"""Model: what every model has, whether it is trained or not: the data it knows, and what its checkpoint says."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields
from typing import Any, ClassVar, Protocol

from torch import Tensor

from common import class_paths
from common.lightning_seam import trainer_of
from common.options import configurable, role_of
from common.ranges import check_ranges
from datamodules.base import DataModule
from datamodules.info import DataInfo
from datamodules.provenance import Provenance
from ensembling.leakage import Leakage
from lightning_modules.evaluated import EvaluatedModule

# what a model computes on: images, rows of a table, or, of a stack of both, each by the batch's key
Inputs = Tensor | Mapping[str, Tensor]


def input_of(model: "Model", inputs: Inputs, given: str = "image") -> Tensor:
    """Choose what a member of a stack computes on.

    Args:
        model: the member
        inputs: of the stack
        given: what they are, where they are one tensor

    Raises:
        ValueError: it is not there
    """
    by_name = {given: inputs} if isinstance(inputs, Tensor) else inputs
    if model.reads not in by_name:
        raise ValueError(
            f"the member {type(model).__name__} needs the {model.reads} of each sample beside its {given}: "
            f"use it on a Manifest with --data.features"
        )
    return by_name[model.reads]


class WrittenTable(Protocol):
    """Predictions as a table."""

    def write(self, path: Any) -> None:
        """Write a row for each predicted sample."""


@configurable
class Model(EvaluatedModule):
    """A model that knows its data and records in its checkpoint what it has seen.

    A subclass builds its modules in `build`.

    Args:
        data_info: what the data knows (its classes and what a sample is); filled in from the data
    """

    data_info: DataInfo | None = None

    # what numbers its options take; those of a subclass add theirs
    ranges: ClassVar[dict[str, str]] = {}
    # the batch's key for what it computes on
    reads: ClassVar[str] = "image"
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
    def read(self) -> list[str]:
        """What it computes on, or its members do, each once: image, table or both."""
        return [self.reads]

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
        """What else its outputs depend on, of plain types; the ledger of tests knows a model by this and by weights."""
        return [self.evaluation_facts]

    @property
    def info(self) -> DataInfo:
        """What the data knows, which must have been given by now."""
        if self.data_info is None:
            raise ValueError(f"{type(self).__name__} needs data_info: pass data_info=datamodule.info")
        return self.data_info

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the model takes, in pixels; 0 where it takes none."""
        return self.info.image_size

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one sample's output by the name of each layer, as far as it is known."""
        return {}

    # what is said of it

    @property
    def result_facts(self) -> dict[str, Any]:
        """What result.json says of the model itself, of plain types."""
        return {}

    def evaluation_notes(self, data: DataModule) -> list[str]:
        """Say what must be known to read the numbers of the split that was evaluated last.

        Args:
            data: that it was evaluated on
        """
        return []

    def evaluation_entries(self, split: str, data: DataModule, rows: dict[str, Tensor]) -> dict[str, Any]:
        """Return what result.json says of an evaluation beside its metrics.

        Args:
            split: that was evaluated
            data: that it is of
            rows: columns of the predictions
        """
        return {}

    def prediction_table(self, data: DataModule, split: str) -> WrittenTable:
        """Return what was predicted last, as a table.

        Args:
            data: that was predicted on
            split: of the data
        """
        raise NotImplementedError(f"{type(self).__name__} must override prediction_table()")

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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record how to rebuild the model, and which samples it was fitted and selected on."""
        checkpoint["architecture"] = deepcopy(self.architecture())
        checkpoint["reads"] = self.reads
        checkpoint["parameters"] = sum(p.numel() for p in self.parameters())
        data = getattr(trainer_of(self), "datamodule", None)
        if isinstance(data, DataModule):
            checkpoint["data_record"] = data.record.plain()
        now = self.current_provenance()
        record = now.union(self.provenance) if now else self.provenance
        if record is not None:
            checkpoint["provenance"] = record.plain()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the samples that the weights have seen already, and what leaked."""
        self.trained_on = checkpoint.get("data_record")
        self.trained_steps = int(checkpoint.get("global_step", 0))
        path = getattr(trainer_of(self), "ckpt_path", None)
        self.provenance = Provenance.from_plain(checkpoint.get("provenance"), str(path or "a checkpoint"))
        if "leakage" in checkpoint:
            self.leakage = Leakage(**checkpoint["leakage"])
