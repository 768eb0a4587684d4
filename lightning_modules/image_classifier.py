"""ImageClassifier: a backbone with a head over preprocessed images, the base of every family."""

from types import MethodType
from typing import Any, ClassVar, Literal, Self

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from common.options import configurable, option
from common.warned import warn
from datamodules.image_data import ImageDataModule
from datamodules.loaders import Batch
from ensembling.choices import LOGIT_CACHE, TTA
from ensembling.leakage import unknown_images
from ensembling.tta import tta_logits
from lightning_modules.frozen_layers import FROZEN, Divided, changed_methods, keep_outputs
from lightning_modules.head_weights import found_head
from lightning_modules.normalization import Normalization, check_normalization, statistics
from lightning_modules.preprocessing import Preprocessing
from lightning_modules.shapes import layer_shapes, output_shape
from lightning_modules.trained_classifier import TrainedClassifier
from lightning_modules.training.compute import check_compiler, compile_module
from lightning_modules.training.freezing import (
    check_unfreezing,
    evaluate_frozen,
    follow_unfreezing,
    freeze_backbone,
    unfreezing,
    warn_of_random,
)
from lightning_modules.training.losses import log_shares
from lightning_modules.training.parameter_groups import Rate, learning_rates
from lightning_modules.training.single_image import check_batches
from lightning_modules.training.stages import stages
from lightning_modules.weights import Weights, initial_weights, load_weights


class FreezeOption:
    """The option `freeze` beside Lightning's method of this name: setting it chooses, calling it freezes all."""

    def __get__(self, model: "ImageClassifier | None", owner: type) -> Any:
        """Return the option's default, or a model's method."""
        return "none" if model is None else MethodType(pl.LightningModule.freeze, model)

    def __set__(self, model: "ImageClassifier", choice: str) -> None:
        """Choose what is not trained."""
        vars(model)["frozen"] = choice


@configurable
class ImageClassifier(TrainedClassifier):
    """A backbone with a linear head over preprocessed images.

    A family overrides `build_backbone` alone; `backbone` maps normalised images to embeddings `(batch, dim)` and `head`
    maps those to logits `(batch, class)`.

    Args:
        input_size: height and width in pixels that images are resized to on the device; null takes the data's
        dropout: share of the embedding's values dropped before the head in training, in [0, 1)
        backbone_lr_factor: learning rate of the backbone as a share of the head's
        layer_decay: each stage of the backbone learns at this share of the rate of the stage after it, in (0, 1]
        logit_adjustment: at evaluation, subtract this many times the log of each class's share of the training samples
            from its logit, for a test that weighs rare classes like others (Menon et al. 2021); 0 subtracts nothing
        tta: views of each image over which probabilities are averaged at evaluation: none, flip (the image and its
            mirror image), or flip_shift (both, also shifted up, down, left and right)
        freeze: what is not trained, BatchNorm's statistics included: none, backbone, or until:<stage> for the stages of
            the backbone before that one
        weights: a local file that the backbone starts from, .safetensors or a state dict saved by torch
        pretrained: let the backbone start from timm's weights, which are downloaded
        weights_head: let the head start from those weights too, which must be of the data's classes in their order
        normalization: mean and standard deviation that images are normalised by: data, imagenet, auto (those of the
            training of the loaded weights, else the data's), or given ones on the scale [0, 1], a value for each
            channel or one for all, such as {mean: 0.13, std: 0.31}
        memory_format: order in memory of the backbone's convolutions and their images: contiguous (channels first) or
            channels_last; the results are the same, and which is faster depends on model and machine: see `tune`
        torch_compile: compile the backbone before its first batch, which takes up to minutes; on a CPU that needs a
            C++ compiler
        frozen_cache: folder that keeps what frozen layers give for each image, so that without augmentation they run
            once and not in each epoch; null runs them in each
        views: train on this many fixed augmented views of each image, which frozen layers see once; 0 augments anew in
            each epoch, and runs them in each
    """

    input_size: int | None = None
    dropout: float = 0.0
    backbone_lr_factor: float = option(1.0, "training")
    layer_decay: float = option(1.0, "training")
    logit_adjustment: float = 0.0
    tta: TTA = "none"
    freeze: str = FreezeOption()  # type: ignore[assignment]
    weights: str | None = option(None, "training")
    pretrained: bool = option(False, "training")
    weights_head: bool = option(False, "training")
    normalization: Normalization = "auto"
    memory_format: Literal["contiguous", "channels_last"] = option("contiguous", "training")
    torch_compile: bool = option(False, "training")
    frozen_cache: str | None = option(LOGIT_CACHE, "training")
    views: int = option(0, "training")

    # the choice of `freeze`, set on each model; ClassVar keeps it from being an option of its own
    frozen: ClassVar[str]

    # what numbers its options take; those of a family add theirs
    ranges: ClassVar[dict[str, str]] = {
        "input_size": "[1, 16384]",
        "dropout": "[0, 1)",
        "backbone_lr_factor": "[0, inf)",
        "layer_decay": "(0, 1]",
        "logit_adjustment": "(-inf, inf)",
        "views": "[0, inf)",
    }
    # children of the backbone that no file of weights need hold
    not_transferred: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        # names of the backbone's tensors that do not start at random; None once a checkpoint has replaced them
        self._loaded: frozenset[str] | None = frozenset()
        # the layers after those whose outputs are served in place of images, if they are
        self._divided: Divided | None = None
        super().__post_init__()
        adjustment = self.logit_adjustment * log_shares(torch.tensor(self.info.class_counts))
        self.register_buffer("_adjustment", adjustment, persistent=False)

    def check_options(self) -> None:
        """Refuse options that are out of their ranges, or contradict each other."""
        super().check_options()
        if not self.info.in_channels:
            raise ValueError(f"--model {type(self).__name__} needs images: for a table, use --model TableClassifier")
        check_normalization(self.normalization, self.info.in_channels)
        if self.weights_head and self.weights is None and not self.pretrained:
            raise ValueError("--model.weights_head true needs --model.weights FILE or --model.pretrained true")
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
    def size(self) -> tuple[int, int]:
        """Height and width that the backbone takes, in pixels."""
        return (self.input_size, self.input_size) if self.input_size is not None else self.info.image_size

    @property
    def imbalance_correction(self) -> str | None:
        """The option that corrects the imbalance of the classes; None if none does."""
        adjusted = f"--model.logit_adjustment {self.logit_adjustment}" if self.logit_adjustment else None
        return super().imbalance_correction or adjusted

    @property
    def evaluation_facts(self) -> dict[str, Any]:
        """Notes to print beside its metrics, on options that change them at evaluation only."""
        facts = {"logit_adjustment": self.logit_adjustment} if self.logit_adjustment else {}
        return facts | super().evaluation_facts

    # what a family changes

    @property
    def timm_name(self) -> str | None:
        """Name the architecture as timm does; None for networks of this project."""
        return None

    @property
    def timm_options(self) -> dict[str, Any]:
        """Keyword arguments that timm builds the architecture with."""
        return {}

    @property
    def head_dropout(self) -> float:
        """Share of the embedding that is dropped; 0 for a family whose backbone drops by itself."""
        return self.dropout

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
        weights = initial_weights(self.weights, self.pretrained, self.timm_name, self.timm_options, type(self).__name__)
        mean, std = self.statistics(weights)
        self.preprocessing = Preprocessing(self.size, mean, std)
        self.backbone = self.build_backbone()
        dim = output_shape(self.backbone, (self.info.in_channels, *self.size))
        if dim is None:
            raise ValueError(self._size_error(self.backbone))
        self.drop = nn.Dropout(self.head_dropout)
        self.head: nn.Module = nn.Linear(dim[0], self.info.num_classes)
        if weights is not None:
            classifier = found_head(weights, self.head, self.info.class_names) if self.weights_head else {}
            told, loaded = load_weights(self.backbone, weights, self.not_transferred, list(classifier))
            if classifier:
                self.head.load_state_dict(dict(zip(("weight", "bias"), classifier.values(), strict=True)))
            self._loaded = frozenset(loaded)
            rank_zero_info(told)
            rank_zero_info(f"weights: images are normalised by mean {mean}, std {std} (--model.normalization)")
            # what they were fitted on has been seen by this model too
            self.provenance = weights.provenance
            if unknown := self.provenance.unknown:
                told = f"weights: {unknown_images(unknown)}"
                warn(f"{told} (every result says so, and a stack over this model needs allow_unknown true)")
        freeze_backbone(self.backbone, self.frozen, self.stages())
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
        return self.backbone(self.prepare(images))

    def prepare(self, images: Tensor) -> Tensor:
        """Turn uint8 images into what the backbone takes, in its order in memory."""
        prepared = self.preprocessing(images)
        return prepared.contiguous(memory_format=torch.channels_last) if self._channels_last else prepared

    @property
    def _channels_last(self) -> bool:
        return self.memory_format == "channels_last"

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits `(batch, class)` of uint8 images `(batch, channel, height, width)`."""
        if self.training or self.tta == "none":
            return self._logits(images)
        return tta_logits(self._logits, images, self.tta)

    def _logits(self, images: Tensor) -> Tensor:
        return self._classify(self.features(images))

    def batch_logits(self, batch: Batch) -> Tensor:
        """Compute the logits of a batch `(batch, class)` from its images, or from what frozen layers gave for them."""
        if self._divided is None or FROZEN not in batch:
            return super().batch_logits(batch)
        return self._classify(self._divided.embedding(batch, self.current_epoch))

    def _classify(self, embeddings: Tensor) -> Tensor:
        logits = self.head(self.drop(embeddings))
        return logits - self._adjustment if self.logit_adjustment and not self.training else logits

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one image's output by the name of each layer."""
        prepared = (self.info.in_channels, *self.size)
        found = {f"backbone.{name}".rstrip("."): shape for name, shape in layer_shapes(self.backbone, prepared).items()}
        embedding = found.get("backbone", ())
        return {"preprocessing": prepared, "drop": embedding, "head": (self.info.num_classes,), **found}

    # modes

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        if mode:
            evaluate_frozen(self)
        return self

    def configure_callbacks(self) -> list[pl.Callback]:
        """Add none, but refuse one that would not work; Lightning asks before it sets anything up."""
        check_unfreezing(self.trainer, self, self.frozen)
        return []

    def setup(self, stage: str) -> None:
        """Freeze what a callback unfreezes later, refuse batches too small, and choose how the backbone is computed.

        Not in `build`: a model that is rebuilt from its checkpoint stays as it is.
        """
        self._follow_unfreezing()
        if stage == "fit":
            check_batches(self.trainer, self.backbone, (self.info.in_channels, *self.size))
        if self._channels_last:
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
        """Warn of frozen layers with random weights, or run them ahead; a resumed run has loaded all of its weights."""
        if self._loaded is not None:
            warn_of_random(self.backbone, self._loaded)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageDataModule) and not changed_methods(type(self), ImageClassifier):
            self._divided = keep_outputs(self, data)

    def teardown(self, stage: str) -> None:
        """Let the loaders serve images again."""
        if self._divided is not None:
            self._divided = None
            self.trainer.datamodule.stop_serving()  # type: ignore[attr-defined]

    def on_train_start(self) -> None:
        """Train what callbacks have unfrozen."""
        self._follow_unfreezing()
        super().on_train_start()

    def on_train_epoch_start(self) -> None:
        """Train what callbacks have unfrozen by now."""
        self._follow_unfreezing()
        super().on_train_epoch_start()

    # optimizer

    def learning_rates(self) -> dict[nn.Parameter, Rate]:
        """Return the group and relative learning rate of each parameter."""
        return learning_rates(self.backbone, self.head, self.stages(), self.backbone_lr_factor, self.layer_decay)

    # checkpoints

    def architecture(self) -> dict[str, Any]:
        """Return what is needed to rebuild this model without its weights, as plain Python types."""
        plain = super().architecture()
        # `freeze` belongs to the training, and the attribute of that name is Lightning's method
        del plain["init_args"]["freeze"]
        # columns beside the images are read by others
        plain["init_args"]["data_info"]["table"] = None
        return plain

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forget what the run had started from, which the checkpoint's weights replace."""
        super().on_load_checkpoint(checkpoint)
        self._loaded = None
