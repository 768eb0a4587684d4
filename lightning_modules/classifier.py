"""ImageClassifier: the one shared step, metrics and optimizer wiring of every model."""

from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from jsonargparse import lazy_instance
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from datamodules.base import ImageDataModule
from datamodules.info import DataInfo
from datamodules.loaders import Batch
from datamodules.provenance import Provenance
from ensembling.gather import gather_by_id
from lightning_modules.compute import check_compiler, compile_module
from lightning_modules.losses import CrossEntropy, Loss
from lightning_modules.metrics import classification_metrics
from lightning_modules.optim import Schedule, WarmupCosine
from lightning_modules.preprocessing import Preprocessing

# how a model is trained and computed, as against what it is: left out of what a checkpoint needs to be rebuilt
TRAINING_FIELDS = frozenset({"loss", "optimizer", "schedule", "memory_format", "torch_compile"})


@dataclass(eq=False, kw_only=True, repr=False)
class ImageClassifier(pl.LightningModule):
    """A backbone with a linear head over preprocessed images.

    A family overrides `build_backbone` alone; `backbone` maps normalised images to embeddings `(batch, dim)` and `head`
    maps those to logits `(batch, class)`.

    Args:
        data_info: what the data knows (classes, channels, size, normalisation); filled in from the data
        input_size: height and width in pixels that images are resized to on the device; null takes the data's
        loss: what is minimised
        optimizer: any optimizer of torch by its class, with its options
        schedule: how the learning rate moves over the run; null keeps it constant
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
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    torch_compile: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.provenance: Provenance | None = None
        # of the split evaluated last, over all processes
        self.predictions: dict[str, Tensor] = {}
        self.metrics: dict[str, float] = {}
        self._rows: list[dict[str, Tensor]] = []
        # loss and hits of the epoch so far, and of how many samples
        self._train_sums = torch.zeros(2)
        self._train_count = 0
        self.build()

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

    def build_backbone(self) -> nn.Module:
        """Build the network from normalised images to embeddings `(batch, dim)`."""
        raise NotImplementedError(f"{type(self).__name__} must override build_backbone()")

    def build(self) -> None:
        """Build preprocessing, backbone and head; refuse an input size that the network cannot take."""
        if self.input_size is not None and self.input_size < 1:
            raise ValueError(f"--model.input_size must be at least 1, not {self.input_size}")
        self.preprocessing = Preprocessing(self.size, self.info.mean, self.info.std)
        self.backbone = self.build_backbone()
        dim = output_shape(self.backbone, (self.info.in_channels, *self.size))
        if dim is None:
            raise ValueError(self._size_error(self.backbone))
        self.head: nn.Module = nn.Linear(dim[0], self.info.num_classes)

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
        return self.head(self.features(images))

    def batch_logits(self, batch: Batch) -> Tensor:
        """Compute the logits of a batch `(batch, class)`; a stack takes them from other inputs."""
        return self(batch["image"])

    # steps

    def setup(self, stage: str) -> None:
        """Choose how the backbone is computed, here rather than in `build`: a rebuilt checkpoint stays as it is."""
        if self.memory_format == "channels_last":
            self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.torch_compile:
            check_compiler(self.trainer.strategy.root_device)
            compile_module(self.backbone)

    def on_train_start(self) -> None:
        """Take the sums to the device: an epoch that is resumed half-way goes on with them."""
        # Apple's devices have no doubles
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._train_sums = self._train_sums.to(self.device, dtype)
        if self.global_rank > 0:
            # what was saved are the sums of the first process
            self._train_sums, self._train_count = torch.zeros_like(self._train_sums), 0

    def on_train_epoch_start(self) -> None:
        """Forget the sums of the epoch before."""
        self._train_sums, self._train_count = torch.zeros_like(self._train_sums), 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss; sums stay on the device, because reading them would wait for it."""
        labels = batch["label"]
        logits = self.batch_logits(batch)
        loss = self.loss(logits, labels)
        with torch.no_grad():
            hits = (logits.argmax(1) == labels).sum()
            dtype = self._train_sums.dtype
            self._train_sums += torch.stack([loss.detach().to(dtype) * len(labels), hits.to(dtype)])
            self._train_count += len(labels)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training loss and accuracy over all processes."""
        sums = torch.cat([self._train_sums, self._train_sums.new_tensor([self._train_count])])
        loss, hits, count = cast(Tensor, self.trainer.strategy.reduce(sums, reduce_op="sum")).tolist()
        if count:
            # the same on all processes by now
            self.log_dict({"train/loss": loss / count, "train/accuracy": hits / count}, sync_dist=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the batch's logits."""
        self._keep(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the batch's logits."""
        self._keep(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the batch's logits."""
        self._keep(batch)

    def on_validation_epoch_end(self) -> None:
        """Gather and log `val/*`."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Gather and log `test/*`."""
        self._finish("test")

    def on_predict_epoch_end(self) -> None:
        """Gather the predictions."""
        self.predictions = self._gather()

    def _keep(self, batch: Batch) -> None:
        logits = self.batch_logits(batch).float()
        self._rows.append(
            {name: batch[name] for name in ("id", "label", "source") if name in batch} | {"logits": logits}
        )

    def _gather(self) -> dict[str, Tensor]:
        rows, self._rows = self._rows, []
        gathered = gather_by_id({name: torch.cat([row[name] for row in rows]) for name in rows[0]})
        # metrics are computed in doubles, which Apple's devices do not have
        return {name: c.cpu() for name, c in gathered.items()} if self.device.type == "mps" else gathered

    def _finish(self, prefix: str) -> None:
        gathered = self._gather()
        if self.trainer.sanity_checking:
            return
        self.predictions = gathered
        logits, labels = gathered["logits"], gathered["label"]
        if not torch.isfinite(logits).all():
            raise ValueError(f"the logits of the {prefix} split are not finite: lower the learning rate")
        self.metrics = classification_metrics(logits, labels) | {"loss": float(self.loss(logits.double(), labels))}
        # each process has all rows, so all log the same numbers
        for name, value in self.metrics.items():
            self.log(f"{prefix}/{name}", value, prog_bar=prefix == "val" and name == "accuracy", sync_dist=True)

    # optimizer

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the injected optimizer over the trainable parameters, and its schedule."""
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        if self.schedule is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if not 0 < steps < float("inf"):
            raise ValueError("a schedule needs an end: set --trainer.max_epochs, or --model.schedule null")
        scheduler = self.schedule.build(optimizer, int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # checkpoints

    def architecture(self) -> dict[str, Any]:
        """Return what is needed to rebuild this model without its weights, as plain Python types."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in TRAINING_FIELDS}
        options["data_info"] = self.info.plain()
        return {"class_path": f"{type(self).__module__}.{type(self).__qualname__}", "init_args": options}

    def current_provenance(self) -> Provenance | None:
        """Return which samples this model is being fitted and selected on; None without a DataModule."""
        data = getattr(self._trainer, "datamodule", None)
        return data.provenance() if isinstance(data, ImageDataModule) else None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record how to rebuild the model, and which samples it was fitted and selected on."""
        checkpoint["architecture"] = deepcopy(self.architecture())
        checkpoint["train_sums"] = {"sums": self._train_sums.cpu(), "count": self._train_count}
        now = self.current_provenance()
        record = now.union(self.provenance) if now else self.provenance
        if record is not None:
            checkpoint["provenance"] = record.plain()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the samples that the weights have seen already, and the sums of an unfinished epoch."""
        if "train_sums" in checkpoint:
            self._train_sums = checkpoint["train_sums"]["sums"]
            self._train_count = checkpoint["train_sums"]["count"]
        if "provenance" in checkpoint:
            self.provenance = Provenance.from_plain(checkpoint["provenance"])


def output_shape(network: nn.Module, input_shape: tuple[int, int, int]) -> tuple[int, ...] | None:
    """Find a network's output shape without computing anything.

    Args:
        network: takes `(batch, channel, height, width)`
        input_shape: channel, height and width

    Returns:
        the shape of one sample's output, or None if the network cannot take this input
    """
    try:
        with torch.no_grad():
            output = meta_copy(network)(torch.empty((2, *input_shape), device="meta"))
    except (RuntimeError, AssertionError, ValueError):
        return None
    return tuple(output.shape[1:]) if output.numel() else None


def meta_copy(network: nn.Module) -> nn.Module:
    """Copy a network's structure in evaluation mode, without its weights: the meta device has shapes alone."""
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
        for weight in network.parameters()
    }
    memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    return deepcopy(network, memo).eval()
