"""ImageClassifier: the one shared step and optimizer wiring of every model."""

from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self, cast

import lightning.pytorch as pl
import torch
from jsonargparse import lazy_instance
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from common import class_paths
from common.lightning_seam import trainer_of
from common.ranges import check_ranges
from datamodules.base import ImageDataModule
from datamodules.info import DataInfo
from datamodules.loaders import Batch
from datamodules.provenance import Provenance
from ensembling.leakage import Leakage, unknown_images
from lightning_modules.evaluated import Evaluated
from lightning_modules.preprocessing import Preprocessing
from lightning_modules.shapes import output_shape
from lightning_modules.training.compute import check_compiler, compile_module
from lightning_modules.training.epoch_sums import EpochSums
from lightning_modules.training.finite_loss import LossWatch, check_weights
from lightning_modules.training.freezing import (
    check_unfreezing,
    evaluate_frozen,
    follow_unfreezing,
    freeze_backbone,
    unfreezing,
    warn_of_random,
)
from lightning_modules.training.losses import CrossEntropy, Loss, log_shares
from lightning_modules.training.parameter_groups import Rate, build_optimizer, learning_rates
from lightning_modules.training.schedules import Schedule, WarmupCosine
from lightning_modules.training.single_image import check_batches
from lightning_modules.training.stages import stages
from lightning_modules.weights import Normalization, Weights, initial_weights, load_weights, statistics

# how a model is trained and computed, as against what it is: left out of what a checkpoint needs to be rebuilt
TRAINING_FIELDS = frozenset(
    {
        "loss",
        "optimizer",
        "schedule",
        "backbone_lr_factor",
        "layer_decay",
        "decay_norm_and_bias",
        "freeze",
        "weights",
        "pretrained",
        "memory_format",
        "torch_compile",
    }
)


@dataclass(eq=False, kw_only=True, repr=False)
class ImageClassifier(Evaluated):
    """A backbone with a linear head over preprocessed images.

    A family overrides `build_backbone` alone; `backbone` maps normalised images to embeddings `(batch, dim)` and `head`
    maps those to logits `(batch, class)`.

    Args:
        data_info: what the data knows (classes, channels, size, normalisation); filled in from the data
        input_size: height and width in pixels that images are resized to on the device; null takes the data's
        loss: what is minimised
        optimizer: any optimizer of torch or timm by its class, with its options
        schedule: how the learning rate moves over the run; null keeps it constant
        backbone_lr_factor: learning rate of the backbone as a share of the head's
        layer_decay: each stage of the backbone learns at this share of the rate of the stage after it, in (0, 1]
        decay_norm_and_bias: apply weight decay to biases and normalisations too
        logit_adjustment: at evaluation, subtract this many times the log of each class's share of the training samples
            from its logit, for a test that weighs rare classes like others (Menon et al. 2021); 0 subtracts nothing
        freeze: what is not trained, BatchNorm's statistics included: none, backbone, or until:<stage> for the stages of
            the backbone before that one
        weights: a local file that the backbone starts from, .safetensors or a state dict saved by torch
        pretrained: let the backbone start from timm's weights, which are downloaded
        normalization: what images are normalised by: auto takes what the loaded weights were trained with, and else the
            data's mean and standard deviation; data and imagenet say which
        memory_format: order in memory of the backbone's convolutions and their images: contiguous (channels first) or
            channels_last; the results are the same, and which is faster depends on model and machine: see `tune`
        torch_compile: compile the backbone before its first batch, which takes up to minutes; on a CPU that needs a
            C++ compiler
    """

    data_info: DataInfo | None = None
    input_size: int | None = None
    loss: Loss = lazy_instance(CrossEntropy)
    optimizer: OptimizerCallable = torch.optim.AdamW
    schedule: Schedule | None = lazy_instance(WarmupCosine)
    backbone_lr_factor: float = 1.0
    layer_decay: float = 1.0
    decay_norm_and_bias: bool = False
    logit_adjustment: float = 0.0
    # in place of LightningModule.freeze(), which nothing calls
    freeze: str = "none"  # type: ignore[assignment]
    weights: str | None = None
    pretrained: bool = False
    normalization: Normalization = "auto"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    torch_compile: bool = False

    # what numbers its options take; those of a family add theirs
    ranges: ClassVar[dict[str, str]] = {
        "input_size": "[1, 16384]",
        "backbone_lr_factor": "[0, inf)",
        "layer_decay": "(0, 1]",
        "logit_adjustment": "(-inf, inf)",
    }
    # children of the backbone that no file of weights need hold
    not_transferred: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__init__()
        self._check_options()
        self.provenance: Provenance | None = None
        # what its checkpoint says of the data that it was trained on
        self.trained_on: dict[str, Any] | None = None
        # names of the backbone's tensors that do not start at random; None without a backbone of its own
        self._loaded: frozenset[str] | None = None
        # of a stack: what its bases had seen of the samples that its head was fitted on
        self.leakage: Leakage | None = None
        self._train_sums = EpochSums()
        # what is stepped by a metric of validation, which it is, and the state that a resumed run goes on from
        self._plateau: tuple[Any, str] | None = None
        self._plateau_state: dict[str, Any] = {}
        self.loss_watch = LossWatch()
        self.build()
        self.criterion = self.loss.build(self.info.class_counts)
        adjustment = self.logit_adjustment * log_shares(torch.tensor(self.info.class_counts))
        self.register_buffer("_adjustment", adjustment, persistent=False)

    def _check_options(self) -> None:
        check_ranges("--model", self, self.ranges)
        if self.logit_adjustment and self.loss.corrects_imbalance:
            raise ValueError(
                f"--model.logit_adjustment {self.logit_adjustment} and --model.loss {self.loss.description} both "
                f"correct the imbalance of the classes: use one of them"
            )
        if self.logit_adjustment and not all(self.info.class_counts):
            raise ValueError(
                f"--model.logit_adjustment needs training samples of every class, not {self.info.class_counts}"
            )

    @property
    def info(self) -> DataInfo:
        """What the data knows, which must have been given by now."""
        if self.data_info is None:
            raise ValueError(f"{type(self).__name__} needs data_info: pass data_info=datamodule.info")
        return self.data_info

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the backbone takes, in pixels."""
        return (self.input_size, self.input_size) if self.input_size is not None else self.info.image_size

    # what a family changes

    @property
    def timm_name(self) -> str | None:
        """Name the architecture as timm does; None for networks of this project."""
        return None

    @property
    def timm_options(self) -> dict[str, Any]:
        """Keyword arguments that timm builds the architecture with."""
        return {}

    def build_backbone(self) -> nn.Module:
        """Build the network from normalised images to embeddings `(batch, dim)`."""
        raise NotImplementedError(f"{type(self).__name__} must override build_backbone()")

    def statistics(self, weights: Weights | None) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel that images are normalised by.

        Args:
            weights: what the backbone starts from
        """
        return statistics(self.normalization, (self.info.mean, self.info.std), weights)

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Divide the backbone's parameters into stages, from its input to its embedding."""
        return {name: [p for m in modules for p in m.parameters()] for name, modules in stages(self.backbone).items()}

    def build(self) -> None:
        """Build preprocessing, backbone and head; refuse an input size that the network cannot take."""
        weights = initial_weights(self.weights, self.pretrained, self.timm_name, self.timm_options)
        mean, std = self.statistics(weights)
        self.preprocessing = Preprocessing(self.size, mean, std)
        self.backbone = self.build_backbone()
        dim = output_shape(self.backbone, (self.info.in_channels, *self.size))
        if dim is None:
            raise ValueError(self._size_error(self.backbone))
        self.head: nn.Module = nn.Linear(dim[0], self.info.num_classes)
        self._loaded = frozenset()
        if weights is not None:
            told, loaded = load_weights(self.backbone, weights, self.not_transferred)
            self._loaded = frozenset(loaded)
            rank_zero_info(told)
            rank_zero_info(f"weights: images are normalised by mean {mean}, std {std} (--model.normalization)")
            # what they were fitted on has been seen by this model too
            self.provenance = weights.provenance
            if unknown := self.provenance.unknown:
                told = f"weights: {unknown_images(unknown)}"
                rank_zero_warn(f"{told} (every result says so, and a stack over this model needs allow_unknown true)")
        freeze_backbone(self.backbone, self.freeze, self.stages())
        self.train()

    def flat_size(self, features: nn.Module) -> int:
        """Return how many values convolutions leave of one input image, once flattened.

        Raises:
            ValueError: the image is too small; the message names the smallest input size that works
        """
        shape = output_shape(features, (self.info.in_channels, *self.size))
        if shape is None:
            raise ValueError(self._size_error(features))
        return int(torch.Size(shape).numel())

    def _size_error(self, network: nn.Module) -> str:
        channels, (height, width) = self.info.in_channels, self.size
        smallest = next((s for s in range(1, 1025) if output_shape(network, (channels, s, s)) is not None), None)
        return (
            f"{type(self).__name__} cannot take images of {height}x{width} pixels; the smallest that works is "
            f"{smallest}x{smallest}: set --model.input_size {smallest} or more"
        )

    # forward

    def features(self, images: Tensor) -> Tensor:
        """Compute the penultimate embedding.

        Args:
            images: uint8, shape `(batch, channel, height, width)`

        Returns:
            shape `(batch, dim)`
        """
        prepared = self.preprocessing(images)
        if self.memory_format == "channels_last":
            prepared = prepared.contiguous(memory_format=torch.channels_last)
        return self.backbone(prepared)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits `(batch, class)` of uint8 images `(batch, channel, height, width)`."""
        logits = self.head(self.features(images))
        return logits - self._adjustment if self.logit_adjustment and not self.training else logits

    def batch_logits(self, batch: Batch) -> Tensor:
        """Compute the logits of a batch `(batch, class)`; a stack takes them from other inputs."""
        return self(batch["image"])

    # modes

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        if mode:
            evaluate_frozen(self)
        return self

    def configure_callbacks(self) -> list[pl.Callback]:
        """Add none, but refuse one that would not work; Lightning asks before it sets anything up."""
        check_unfreezing(self.trainer, self, self.freeze)
        return []

    def setup(self, stage: str) -> None:
        """Freeze what a callback unfreezes later, refuse batches too small, and choose how the backbone is computed.

        Not in `build`: a model that is rebuilt from its checkpoint stays as it is.
        """
        self._follow_unfreezing()
        if stage == "fit":
            check_batches(self.trainer, self.backbone, (self.info.in_channels, *self.size))
        if self.memory_format == "channels_last":
            self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.torch_compile:
            check_compiler(self.trainer.strategy.root_device)
            compile_module(self.backbone)

    def _follow_unfreezing(self) -> None:
        callback = unfreezing(self.trainer)
        if callback is not None and self.trainer.state.fn == "fit":
            follow_unfreezing(callback, self.backbone, self.trainer.current_epoch)
            self.train(self.training)

    # steps

    def on_fit_start(self) -> None:
        """Warn of layers that are frozen at random; a run that goes on has loaded all of them."""
        if self._loaded is not None:
            warn_of_random(self.backbone, self._loaded)

    def on_train_start(self) -> None:
        """Take the sums to the device: an epoch that is resumed half-way goes on with them."""
        self._follow_unfreezing()
        self._train_sums.move(self.device)
        if self.global_rank > 0:
            # what was saved are the sums of the first process
            self._train_sums.clear()
        alone_on_cpu = self.device.type == "cpu" and self.trainer.world_size == 1
        self.loss_watch.start(alone_on_cpu, self.trainer.log_every_n_steps)  # type: ignore[attr-defined]

    def on_train_epoch_start(self) -> None:
        """Forget the sums of the epoch before, and train what callbacks have unfrozen."""
        self._follow_unfreezing()
        self._train_sums.clear()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss; sums stay on the device, because reading them would wait for it."""
        labels = batch["label"]
        logits = self.batch_logits(batch)
        # a batch that was mixed has a share of each class
        loss = self.criterion(logits, batch.get("target", labels))
        if self.loss_watch.add(loss, batch_idx):
            self.loss_watch.check(self.trainer)
        self._train_sums.add(loss, logits, labels)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training loss and accuracy over all processes."""
        self.loss_watch.check(self.trainer)
        sums = cast(Tensor, self.trainer.strategy.reduce(self._train_sums.with_count(), reduce_op="sum"))
        loss, hits, count = sums.tolist()
        if count:
            # the same on all processes by now
            self.log_dict({"train/loss": loss / count, "train/accuracy": hits / count}, sync_dist=True)

    def on_validation_start(self) -> None:
        """Stop before the validation of what has gone wrong."""
        self.loss_watch.check(self.trainer)

    def on_validation_epoch_end(self) -> None:
        """Gather and log `val/*`, and step what follows a metric of them."""
        super().on_validation_epoch_end()
        if self._plateau is not None and self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            scheduler, metric = self._plateau
            scheduler.step(self.metrics[metric])

    # optimizer

    def learning_rates(self) -> dict[nn.Parameter, Rate]:
        """Return the group and relative learning rate of each parameter."""
        return learning_rates(self.backbone, self.head, self.stages(), self.backbone_lr_factor, self.layer_decay)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the injected optimizer over the trainable parameters, and its schedule."""
        optimizer = build_optimizer(self.optimizer, self.learning_rates(), self.decay_norm_and_bias)
        if self.schedule is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches if self.schedule.needs_steps else 0
        if self.schedule.needs_steps and not 0 < steps < float("inf"):
            raise ValueError("a schedule needs an end: set --trainer.max_epochs, or --model.schedule null")
        scheduler = self.schedule.build(optimizer, int(steps))
        if "monitor" in scheduler:
            # Lightning would step it once an epoch, and after the state is saved: a resumed run would miss a step
            self._plateau = scheduler["scheduler"], scheduler["monitor"].removeprefix("val/")
            if self._plateau_state:
                self._plateau[0].load_state_dict(self._plateau_state)
            return optimizer
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": scheduler})

    # checkpoints

    def architecture(self) -> dict[str, Any]:
        """Return what is needed to rebuild this model without its weights, as plain Python types."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in TRAINING_FIELDS}
        options["data_info"] = self.info.plain()
        return {"class_path": class_paths.public_name(type(self)), "init_args": options}

    def current_provenance(self) -> Provenance | None:
        """Return which samples this model is being fitted and selected on; None without a DataModule."""
        data = getattr(trainer_of(self), "datamodule", None)
        return data.provenance if isinstance(data, ImageDataModule) else None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record how to rebuild the model, and which samples it was fitted and selected on.

        Raises:
            NotFiniteError: the weights are useless, or about to be: the checkpoint saved before is kept
        """
        self.loss_watch.check(self.trainer)
        check_weights(self.parameters(), self.trainer)
        checkpoint["architecture"] = deepcopy(self.architecture())
        checkpoint["parameters"] = sum(p.numel() for p in self.parameters())
        checkpoint["train_sums"] = self._train_sums.state_dict()
        if self._plateau is not None:
            checkpoint["plateau"] = self._plateau[0].state_dict()
        data = getattr(trainer_of(self), "datamodule", None)
        if isinstance(data, ImageDataModule):
            checkpoint["data_record"] = data.record.plain()
        now = self.current_provenance()
        record = now.union(self.provenance) if now else self.provenance
        if record is not None:
            checkpoint["provenance"] = record.plain()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the samples that the weights have seen already, what leaked, and an unfinished epoch's sums."""
        if "train_sums" in checkpoint:
            self._train_sums.load_state_dict(checkpoint["train_sums"])
        self._plateau_state = checkpoint.get("plateau", {})
        self.trained_on = checkpoint.get("data_record")
        # its weights replace those that the run had started from
        self._loaded = None
        path = getattr(trainer_of(self), "ckpt_path", None)
        self.provenance = Provenance.from_plain(checkpoint.get("provenance"), str(path or "a checkpoint"))
        if "leakage" in checkpoint:
            self.leakage = Leakage(**checkpoint["leakage"])
