"""StackedClassifier: a whole stack in one file: members, head, temperature and thresholds."""

from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, ClassVar, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from common import class_paths
from common.options import configurable
from datamodules.base import DataModule
from datamodules.info import DataInfo
from datamodules.loaders import Batch
from datamodules.provenance import Provenance
from ensembling.choices import TTA
from ensembling.heads.fitting import Head, head_from_plain, head_plain
from ensembling.judging.rejection import Thresholds
from ensembling.leakage import Leakage
from ensembling.logits import mean_logits, mean_of_folds
from ensembling.tta import tta_logits
from lightning_modules.checkpoints import build_classifier, read_checkpoint
from lightning_modules.classifier import Classifier
from lightning_modules.model import Inputs, Model, input_of
from lightning_modules.table_model import TableModel
from lightning_modules.training.losses import CrossEntropy


@configurable
class StackedClassifier(Classifier):
    """Images to a stack's calibrated logits; what `python train.py stack` leaves behind.

    It is evaluated and predicts like any other model, and is not trained: its head was fitted by `stack`. Each member
    keeps its own preprocessing.

    Args:
        members: of each its `name`, and how to rebuild its `models`: one a fold, or a single one
        meta_model: the head's class and options
        by_fold: the head and the temperature are applied to each fold's models, a single one counting for each fold;
            the mean of these probabilities is the stack's
        normalized: as in stacks of earlier versions, the head is applied to the logarithm of each member's mean
            probability instead
        temperature: the head's logits are divided by it
        tta: views of each image over which a member's probabilities are averaged
        thresholds: below which probability a prediction is rejected; null accepts all
    """

    members: list[dict[str, Any]] = field(default_factory=list)
    meta_model: dict[str, Any] = field(default_factory=dict)
    by_fold: bool = False
    normalized: bool = False
    temperature: float = 1.0
    tta: TTA = "none"
    thresholds: dict[str, Any] | None = None

    is_stack: ClassVar[bool] = True

    def build(self) -> None:
        """Build the members and the head, whose weights come from the checkpoint."""
        if not self.members:
            raise ValueError("a StackedClassifier is made by `python train.py stack` and read from its stack.ckpt")
        self.folds = max(len(member["models"]) for member in self.members)
        if self.by_fold and any(len(member["models"]) not in (1, self.folds) for member in self.members):
            raise ValueError(f"--model.by_fold true needs members of one model each, or of {self.folds}: one a fold")
        if self.folds > 1 and not (self.by_fold or self.normalized):
            raise ValueError("--model.by_fold false and --model.normalized false need members of one model each")
        self.bases = nn.ModuleList(
            nn.ModuleList(build_classifier(unwrapped(model), "the stack") for model in member["models"])
            for member in self.members
        )
        self.head = head_from_plain(unwrapped(self.meta_model)).build(len(self.members), self.info.num_classes)
        self.criterion = CrossEntropy().build(self.info.class_counts)
        self.requires_grad_(False)
        # of those that it needs, the one that a single tensor is
        self.reads = "table" if self.read == ["table"] else "image"  # type: ignore[misc]

    @property
    def beside_weights(self) -> list[Any]:
        """What `stack_checkpoint` says of it beside its weights."""
        return [{}, beside_of_stack(self.architecture()["init_args"])]

    def check_trainable(self) -> None:
        """Refuse to be trained."""
        raise ValueError("a stack.ckpt is not trained on: run `python train.py stack` with other heads or members")

    @property
    def read(self) -> list[str]:
        """What its members compute on, each once: image, table or both."""
        models = [model for member in self.bases for model in cast(nn.ModuleList, member)]
        return list(dict.fromkeys(cast(Model, model).reads for model in models))

    def batch_logits(self, batch: Batch) -> Tensor:
        """Compute the logits of a batch `(batch, class)`, from all that its members read."""
        return self({name: batch[name] for name in self.read})

    def setup(self, stage: str) -> None:
        """Refuse rows that a member cannot read."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, DataModule):
            for model in self.modules():
                if isinstance(model, TableModel):
                    model.readable(data, "val" if stage == "validate" else stage)

    def member_logits(self, images: Inputs) -> Tensor:
        """Compute the members' logits `(batch, member, class)` of uint8 images, or of what they read by its name."""
        pool = mean_logits if self.normalized else mean_of_folds
        return torch.stack([pool(runs).float() for runs in self._runs(images)], dim=1)

    def _runs(self, images: Inputs) -> list[Tensor]:
        # of each member, (batch, model, class)
        found = []
        for models in self.bases:
            assert isinstance(models, nn.ModuleList)
            reads = cast(Model, models[0]).reads
            own, views = (
                input_of(cast(Model, models[0]), images, self.reads),
                self.tta if reads == "image" else "none",
            )
            found.append(torch.stack([tta_logits(model, own, views) for model in models], dim=1))
        return found

    def features(self, images: Inputs) -> Tensor:
        """Compute what the head sees of uint8 images, `(batch, member * class)`."""
        return self.member_logits(images).flatten(1)

    def forward(self, images: Inputs) -> Tensor:
        """Compute calibrated logits `(batch, class)` of uint8 images, or of what members read by its name."""
        # the head is tiny: full precision costs nothing
        if not self.by_fold:
            logits = self.member_logits(images)
            with torch.autocast(logits.device.type, enabled=False):
                return self.head(logits) / self.temperature
        folds = torch.stack([runs.float().expand(-1, self.folds, -1) for runs in self._runs(images)], dim=2)
        with torch.autocast(folds.device.type, enabled=False):
            pooled = torch.stack([self.head(fold) for fold in folds.unbind(1)], dim=1)
            return mean_of_folds(pooled / self.temperature).float()

    def accepted(self, logits: Tensor) -> Tensor | None:
        """Tell which predictions are accepted; None where the stack rejects nothing.

        Args:
            logits: shape `(sample, class)`

        Returns:
            bool, shape `(sample,)`
        """
        if self.thresholds is None:
            return None
        return Thresholds(**self.thresholds).accepted(logits.double().softmax(1))

    @property
    def rejection_notes(self) -> list[str]:
        """What was asked of the thresholds and could not be reached."""
        return [] if self.thresholds is None else Thresholds(**self.thresholds).notes


def stack_checkpoint(
    members: dict[str, list[Path]],
    info: DataInfo,
    head: Head,
    module: nn.Module,
    temperature: float,
    tta: TTA,
    thresholds: Thresholds | None,
    provenance: Provenance,
    leakage: Leakage,
    data: dict[str, Any],
    by_fold: bool,
    data_record: dict[str, Any],
) -> dict[str, Any]:
    """Put a whole stack into one checkpoint, which needs no other file.

    Args:
        members: by name, the checkpoints of the member's models
        info: what the data knows
        head: the meta-model's options
        module: the fitted meta-model
        temperature: fitted on held-out samples
        tta: views of each image
        thresholds: of rejection; None accepts all
        provenance: which samples the members and the head have seen
        leakage: what the members had seen of the samples that the head was fitted on
        data: the data section of the resolved configuration
        by_fold: whether members have a model a fold, for each of which the head is asked
        data_record: what `DataRecord.plain` says of the data

    Returns:
        what `torch.save` writes and `load_classifier` reads
    """
    architectures: list[dict[str, Any]] = []
    read: set[str] = set()
    state: dict[str, Tensor] = {f"head.{name}": value for name, value in module.state_dict().items()}
    for number, (name, paths) in enumerate(members.items()):
        architectures.append({"name": name, "models": []})
        for copy, path in enumerate(paths):
            checkpoint = read_checkpoint(path)
            read.add(checkpoint.get("reads", "image"))
            architectures[number]["models"].append(wrapped(checkpoint["architecture"]))
            state |= {f"bases.{number}.{copy}.{key}": value for key, value in checkpoint["state_dict"].items()}
    options = {
        "data_info": info.plain(),
        "members": architectures,
        "meta_model": wrapped(head_plain(head)),
        "by_fold": by_fold,
        "normalized": False,
        "temperature": temperature,
        "tta": tta,
        "thresholds": thresholds.plain() if thresholds is not None else None,
    }
    class_path = class_paths.public_name(StackedClassifier)
    return {
        "pytorch-lightning_version": pl.__version__,
        "epoch": 0,
        "global_step": 0,
        "state_dict": state,
        "reads": "table" if read == {"table"} else "image",
        "architecture": {"class_path": class_path, "init_args": options},
        "config": {"data": data},
        "provenance": provenance.plain(),
        "leakage": asdict(leakage),
        "data_record": data_record,
    }


def beside_of_stack(options: Mapping[str, Any]) -> list[Any]:
    """Return what a stack's logits depend on beside its weights.

    Args:
        options: of a StackedClassifier, by name
    """
    return [options[name] for name in ("by_fold", "normalized", "temperature", "tta")]


def wrapped(plain: dict[str, Any]) -> dict[str, Any]:
    """Rename what names a class and its options: the command line's parser would build the class at once."""
    return {"kind": plain["class_path"], "options": plain["init_args"]}


def unwrapped(plain: dict[str, Any]) -> dict[str, Any]:
    """Undo `wrapped`."""
    return {"class_path": plain["kind"], "init_args": plain["options"]}
