"""StackingModule: a meta-model on the logits of frozen members."""

import os
from collections.abc import Callable
from dataclasses import asdict, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from common.lazy_seam import lazy
from common.options import configurable, option
from common.warned import warn
from datamodules.base import DataModule
from datamodules.data_record import only_numbered
from datamodules.loaders import Batch
from datamodules.provenance import Provenance
from datamodules.samples import Samples, TensorSource
from ensembling.cache import LogitCache, LogitCounts
from ensembling.choices import LOGIT_CACHE, TTA, LeakedSamples, NearCopies
from ensembling.folds import join_copies
from ensembling.heads.fitting import Head, LogisticHead, fit_notes, head_plain
from ensembling.leakage import Leakage, find_leakage, leave_out_leaked, refuse_leakage
from ensembling.logits import mean_logits
from ensembling.tta import tta_logits
from lightning_modules.changed_bases import changed_bases
from lightning_modules.checkpoints import find_base, read_base
from lightning_modules.classifier import Classifier
from lightning_modules.member_logits import load_frozen, stack_logits
from lightning_modules.model import Inputs, input_of
from lightning_modules.shapes import layer_shapes
from lightning_modules.trained_classifier import TrainedClassifier
from lightning_modules.training.freezing import check_unfreezing
from lightning_modules.training.losses import Focal
from lightning_modules.training.parameter_groups import Rate
from measures.classification import classification_metrics
from records.run_dir import unique_names


@configurable
class StackingModule(TrainedClassifier):
    """A head on the logits of frozen members: an average, a logistic regression or an MLP.

    The members run once over each split, before training, and only over images whose logits no earlier run has kept.
    The head then trains on their logits, and images are not touched again. Each member keeps its own preprocessing.
    The head is validated on the split of val and stack that it is not trained on, or else on a part of its samples.

    Args:
        bases: checkpoints of the members, or their run folders (whose checkpoints/best.ckpt is then used)
        meta_model: the head on the members' logits
        train_on: the split that the head is trained on
        meta_val_fraction: share of these samples that validates the head, and is not trained on, where no split is left
            for that; 0 trains on all of them, and nothing is validated then
        allow_leakage: train on samples that a member was fitted on; every table then says so
        allow_unknown: accept members that were fitted on unknown images, such as those that started from a file of
            weights without a record of its training images; every table then says so
        leaked_samples: what becomes of samples that a member was fitted on: refuse, or drop (leave out as many as a
            tenth, and say so)
        near_copies: what becomes of samples that look like copies of images that a member was fitted on: tell, or
            refuse
        allow_changed: accept members whose data has changed since they were trained on it; every table then says so
        logit_cache: folder that keeps the members' logits, for all runs; null keeps none, and computes them each time
        tta: views of each image that a member's logits are averaged over: none, flip (the image and its mirror image),
            or flip_shift (both, also shifted up, down, left and right)
    """

    bases: list[str] = field(default_factory=list)
    meta_model: Head = lazy(LogisticHead)
    train_on: Literal["stack", "val"] = "stack"
    meta_val_fraction: float = 0.2
    allow_leakage: bool = False
    allow_unknown: bool = False
    leaked_samples: LeakedSamples = "refuse"
    near_copies: NearCopies = "tell"
    allow_changed: bool = False
    # "training" because the path is one of this machine
    logit_cache: str | None = option(LOGIT_CACHE, "training")
    tta: TTA = "none"

    is_stack: ClassVar[bool] = True
    learns_from_logits: ClassVar[bool] = True
    ranges: ClassVar[dict[str, str]] = {**TrainedClassifier.ranges, "meta_val_fraction": "[0, 1)"}

    def build(self) -> None:
        """Read what the members' checkpoints say of them, and build the head."""
        changed = self.loss.corrects_imbalance or self.loss.label_smoothing or isinstance(self.loss, Focal)
        if self.meta_model.solved and changed:
            raise ValueError(
                f"--model.loss {self.loss.description} with these options is for a head trained in epochs: "
                f"{type(self.meta_model).__name__} solves its own problem; use --model.meta_model MLPHead"
            )
        if not self.bases:
            raise ValueError("--model.bases must name at least one checkpoint or run folder")
        self.paths = [find_base(base) for base in self.bases]
        self.base_names = unique_names(self.paths)
        self.known_bases = [read_base(path) for path in self.paths]
        for base in self.known_bases:
            base.info.check_compatible(self.info, str(base.path), "the stack's data")
        self.head = self.meta_model.build(len(self.bases), self.info.num_classes)
        self.leakage = Leakage()
        self.class_counts = self.info.class_counts
        self.members: list[dict[str, Any]] = []
        # logits, labels and groups of what the head is trained on
        self._meta: tuple[Tensor, Tensor, Tensor | None] | None = None
        self._provenance: Provenance | None = None

    @property
    def read(self) -> list[str]:
        """What its members compute on, each once: image, table or both."""
        return list(dict.fromkeys(base.reads for base in self.known_bases))

    @property
    def member_names(self) -> list[str]:
        """Names of the members."""
        return self.base_names

    @property
    def solved(self) -> bool:
        """Whether the head is solved at once, rather than trained in epochs."""
        return self.meta_model.solved

    @property
    def member_results(self) -> list[dict[str, Any]]:
        """Metrics of each member and of their mean on the samples that were tested last."""
        return self.members

    @property
    def frozen_parameters(self) -> int:
        """How many parameters the members have."""
        return sum(base.parameters for base in self.known_bases)

    @property
    def beside_weights(self) -> list[Any]:
        """The bases, which are not among its weights, and the views."""
        # the views stand at its end, as ledgers of earlier versions have them
        return [{}, [base.sha256 for base in self.known_bases], self.tta]

    @cached_property
    def base_models(self) -> list[Classifier]:
        """The members, frozen, built when images are first given to the stack itself."""
        # a plain list, not a ModuleList: frozen members stay out of the optimizer, the state dict, train() and DDP
        return [load_frozen(base.path, base.sha256) for base in self.known_bases]

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one image's output by the name of each layer of the head."""
        found = layer_shapes(self.head, (len(self.bases), self.info.num_classes))
        return {f"head.{name}".rstrip("."): shape for name, shape in found.items()}

    def combine(self, logits: Tensor) -> Tensor:
        """Compute the stack's logits `(batch, class)` from the members' `(batch, member, class)`."""
        # the head is tiny: full precision costs nothing
        with torch.autocast(self.device.type, enabled=False):
            return self.head(logits)

    def features(self, images: Inputs) -> Tensor:
        """Compute the members' logits of uint8 images, `(batch, member * class)`."""
        return self._run_bases(images).flatten(1)

    def forward(self, images: Inputs) -> Tensor:
        """Compute logits `(batch, class)` of uint8 images, or of what members read by its name."""
        return self.combine(self._run_bases(images))

    @torch.no_grad()
    def _run_bases(self, images: Inputs) -> Tensor:
        found = []
        for base in self.base_models:
            own = input_of(base, images, self.reads)
            found.append(tta_logits(base.to(own.device), own, self.tta if base.reads == "image" else "none"))
        return torch.stack(found, dim=1)

    def batch_logits(self, batch: Batch) -> Tensor:
        """Compute the logits of a batch from its members' logits."""
        return self.combine(batch["logits"])

    # data

    def setup(self, stage: str) -> None:
        """Check for leakage, run the members once, and let the loaders serve their logits."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, DataModule):
            raise TypeError("a StackingModule is run with a DataModule: trainer.fit(stack, datamodule=data)")
        if stage == "fit":
            self._setup_fit(data)
        elif stage == "validate":
            if reason := self.unvalidated(data):
                raise ValueError(f"there is nothing to validate on: {reason}")
            _, val = self.meta_splits(data)
            data.serve("val", val.with_source(TensorSource(self._logits(data, val), "logits")))
        else:
            samples = data.samples(stage)
            data.serve(stage, samples.with_source(TensorSource(self._logits(data, samples), "logits")))

    def teardown(self, stage: str) -> None:
        """Leave the DataModule as it was."""
        self.trainer.datamodule.stop_serving()  # type: ignore[attr-defined]

    def meta_splits(self, data: DataModule) -> tuple[Samples, Samples]:
        """Return the samples that the head is trained on, and those that it is validated on.

        Args:
            data: brings the splits
        """
        meta, val = data.samples(self.train_on), data.samples("val" if self.train_on == "stack" else "stack")
        if not len(meta):
            raise ValueError(
                f"--model.train_on {self.train_on} needs samples: set --data.{self.train_on}_fraction above 0, "
                f"with the members trained under the same setting"
            )
        if len(val):
            return meta, val
        if not self.meta_val_fraction:
            return meta, val
        kept, held = data.draw(meta, [self.meta_val_fraction], self.info.class_names)
        return kept, held

    def unvalidated(self, data: DataModule) -> str | None:
        """Say why no sample is held out to validate the head; None if some are."""
        other = "val" if self.train_on == "stack" else "stack"
        if self.meta_val_fraction or len(data.samples(other)):
            return None
        return f"no sample is held out for it: set --model.meta_val_fraction, or --data.{other}_fraction"

    def _setup_fit(self, data: DataModule) -> None:
        if self.meta_model.solved and data.sampler != "none":
            raise ValueError(f"--data.sampler {data.sampler} is for a head trained in epochs, such as MLPHead")
        train, val = self.meta_splits(data)
        bases = dict(zip(self.base_names, self.known_bases, strict=True))
        changed = changed_bases(bases, data, self.allow_changed)
        records = {name: base.provenance for name, base in bases.items()}
        notes: list[str] = []
        refuses_near = self.near_copies == "refuse"
        if self.leaked_samples == "drop":
            train, notes = leave_out_leaked(train, records, refuses_near, self.allow_leakage)
        self.leakage = find_leakage(train, val if len(val) else None, records)
        refuse_leakage(self.leakage, self.allow_leakage, self.allow_unknown, refuses_near)
        notes += only_numbered(self.info.class_names, {name: base.data for name, base in bases.items()}, data)
        self.leakage = replace(self.leakage, changed=changed, notes=notes)
        for sentences in self.leakage.plain().values():
            for sentence in sentences:
                warn(sentence)
        logits = self._logits(data, train)
        data.serve("train", train.with_source(TensorSource(logits, "logits")))
        data.serve("val", val.with_source(TensorSource(self._logits(data, val), "logits")) if len(val) else val)
        self._meta = (logits, train.labels, join_copies(train.contents, train.groups))
        # the classes' counts are those of the samples that the head learns from
        self.class_counts = torch.bincount(train.labels, minlength=self.info.num_classes).tolist()
        self.criterion = self.loss.build(self.class_counts).to(self.device)
        self._provenance = Provenance.of_samples(selected=[val], calibrated=[train]).union(*records.values())

    def _logits(self, data: DataModule, samples: Samples) -> Tensor:
        counts = LogitCounts()
        logits = stack_logits(
            self.paths,
            samples,
            data,
            self.trainer.strategy.root_device,
            str(self.trainer.precision),
            self.tta,
            LogitCache(self.logit_cache) if self.logit_cache is not None else None,
            counts,
            [base.sha256 for base in self.known_bases],
            [base.reads for base in self.known_bases],
        )
        rank_zero_info(str(counts))
        return logits

    # training

    def configure_callbacks(self) -> list[pl.Callback]:
        """Add none, but refuse one that would not work; Lightning asks before it sets anything up."""
        check_unfreezing(self.trainer, self, "none")
        return []

    def learning_rates(self) -> dict[nn.Parameter, Rate]:
        """Return the group and relative learning rate of each parameter of the head."""
        return dict.fromkeys(self.head.parameters(), ("head", 1.0))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Train the head in epochs with the injected optimizer, or solve it in one step."""
        if not self.meta_model.solved:
            return super().configure_optimizers()
        return _Solver(self.head.parameters(), self._solve)

    def _solve(self) -> None:
        assert self._meta is not None
        logits, labels, groups = self._meta
        self.meta_model.solve(self.head, logits, labels, groups=groups)
        for note in fit_notes(self.head):
            warn(note)
        self.trainer.should_stop = True

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics; a solved head's are those of its solution."""
        if self.meta_model.solved and self._meta is not None:
            logits, labels = (part.to(self.device) for part in self._meta[:2])
            with torch.no_grad():
                output = self.combine(logits)
            accuracy = (output.argmax(1) == labels).double().mean()
            self.log_dict({"train/loss": self.criterion(output, labels), "train/accuracy": accuracy}, sync_dist=True)
        else:
            super().on_train_epoch_end()

    def on_test_epoch_end(self) -> None:
        """Log `test/*`, and compare the stack with its members and their mean on the same samples."""
        super().on_test_epoch_end()
        samples = self.trainer.datamodule.served("test")  # type: ignore[attr-defined]
        # fewer than all, if the Trainer was told to test a few batches
        tested = torch.isin(samples.ids, self.predictions["id"].cpu())
        logits, labels = samples.source.tensor[tested], samples.labels[tested]
        rows = [(name, logits[:, number]) for number, name in enumerate(self.base_names)]
        parameters = [base.parameters for base in self.known_bases]
        self.members = [
            {
                "name": name,
                "checkpoint": str(path),
                "parameters": count,
                **classification_metrics(member, labels, self.problem),
            }
            for (name, member), path, count in zip(rows, self.paths, parameters, strict=True)
        ]
        mean = classification_metrics(mean_logits(logits), labels, self.problem)
        self.members.append({"name": "mean of members", "checkpoint": None, "parameters": sum(parameters), **mean})

    # checkpoints

    def architecture(self) -> dict[str, Any]:
        """Return what is needed to rebuild this model without its weights, as plain Python types."""
        plain = super().architecture()
        plain["init_args"]["meta_model"] = head_plain(self.meta_model)
        plain["init_args"]["bases"] = [str(path.resolve()) for path in self.paths]
        return plain

    def current_provenance(self) -> Provenance | None:
        """Return which samples the head and its members were fitted and selected on."""
        return self._provenance

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the members by path and content, so that the checkpoint stays small and they are known again."""
        super().on_save_checkpoint(checkpoint)
        root = self.trainer.default_root_dir
        checkpoint["bases"] = [
            {
                "path": str(base.path.resolve()),
                "relative": os.path.relpath(base.path.resolve(), root),
                "sha256": base.sha256,
            }
            for base in self.known_bases
        ]
        assert self.leakage is not None
        checkpoint["leakage"] = asdict(self.leakage)
        checkpoint["class_counts"] = self.class_counts

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse members other than those that the head was trained over."""
        super().on_load_checkpoint(checkpoint)
        trained = [base["sha256"] for base in checkpoint["bases"]]
        if len(trained) != len(self.known_bases):
            raise ValueError(f"the stack was trained over {len(trained)} members, not {len(self.known_bases)}")
        for base, then in zip(self.known_bases, trained, strict=True):
            if base.sha256 != then:
                raise ValueError(
                    f"member {base.path} has changed since the stack was trained over it: restore it, or train the "
                    f"stack again"
                )
        self.criterion = self.loss.build(checkpoint["class_counts"]).to(self.device)


class _Solver(Optimizer):
    """An optimizer whose one step solves the problem.

    Checkpoints, loggers and limits of the Trainer count optimizer steps: a solved head takes part as any other.

    Args:
        params: the parameters that are solved for
        solve: sets them
    """

    def __init__(self, params: Any, solve: Callable[[], None]) -> None:
        super().__init__(params, {"lr": 1.0})
        self._solve = solve

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Solve."""
        loss = closure() if closure is not None else None
        self._solve()
        return loss
