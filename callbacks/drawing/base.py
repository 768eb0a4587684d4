"""What callbacks that draw have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from callbacks.drawing.folder import FigureFolder
from callbacks.recorder import RunRecorder, is_rehearsal
from common.printable import printable
from common.system_errors import in_words
from common.warned import warn
from datamodules.base import DataModule
from datamodules.samples import Samples
from datamodules.splits import SPLITS
from lightning_modules.classifier import Classifier
from lightning_modules.model import Model
from records.result_files import read_predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawn = Iterator[tuple[str, "Figure"]]


class Decisions(Protocol):
    """What a model decided on a split, for the figures that need no more than that."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each sample, shape `(sample,)`."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Class that is predicted for each sample, shape `(sample,)`."""

    @property
    def class_names(self) -> list[str]:
        """Name of each class."""

    @property
    def title(self) -> str:
        """What was evaluated on what."""

    def path(self, name: str) -> Path:
        """Return the path of a file beside the figures."""


@dataclass(frozen=True)
class Evaluated:
    """The predictions on a whole split, over all processes.

    Args:
        split: val or test
        ids: id of each sample, shape `(sample,)`
        labels: class of each sample, shape `(sample,)`
        logits: shape `(sample, class)`
        model: that was evaluated
        trainer: that evaluated it
        files: where figures go
    """

    split: str
    ids: Tensor
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    model: Classifier
    trainer: pl.Trainer
    files: FigureFolder

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities `(sample, class)`."""
        from measures.reliability import softmax

        return softmax(self.logits)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Class that is predicted for each sample, shape `(sample,)`."""
        return self.logits.argmax(1)

    @property
    def class_names(self) -> list[str]:
        """Name of each class, as a picture can show it."""
        return [printable(name) for name in self.model.info.class_names]

    @property
    def title(self) -> str:
        """Say what was evaluated on what."""
        word = getattr(getattr(self.trainer, "datamodule", None), "sample_word", "image")
        return title_of(self.trainer, self.split, len(self.labels), f"{word}s")

    def path(self, name: str) -> Path:
        """Return the path of a file beside the figures, whose name begins with that of the split."""
        return self.files.path(self.trainer, f"{self.split}_{name}")

    def samples(self, rows: NDArray[np.integer]) -> Samples:
        """Return some of the samples, with their names and images."""
        data: DataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return find_samples(data, self.split, self.ids[torch.as_tensor(rows, dtype=torch.int64)])

    def inputs(self, rows: NDArray[np.integer]) -> Tensor:
        """Return what the model computes on of some samples: images, or rows of a table."""
        data: DataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        samples = data.inputs(self.samples(rows), self.model.reads)
        return samples.source.gather(samples.rows)

    def images(self, rows: NDArray[np.integer]) -> Tensor:
        """Return the images of some samples, uint8, shape `(row, channel, height, width)`."""
        samples = self.samples(rows)
        return samples.source.gather(samples.rows)


def title_of(trainer: pl.Trainer, split: str, count: int, what: str) -> str:
    """Say what was evaluated on what.

    Args:
        trainer: that evaluated it
        split: val or test
        count: of the samples
        what: they are
    """
    run = printable(Path(trainer.default_root_dir).name)
    return f"{run}: {count:,} {'validation' if split == 'val' else split} {what}"


def find_samples(data: DataModule, split: str, ids: Tensor) -> Samples:
    """Find samples by their ids; a stack may validate on a part of another split than val.

    Args:
        data: that serves them
        split: where to look first
        ids: of the samples, shape `(sample,)`

    Raises:
        ValueError: no split has all of them
    """
    for name in dict.fromkeys((split, *SPLITS)):
        samples = data.samples(name)
        if not len(samples):
            continue
        known, order = samples.ids.sort()
        places = torch.searchsorted(known, ids).clamp_(max=len(known) - 1)
        if torch.equal(known[places], ids):
            return samples.subset(order[places])
    raise ValueError("the data has no images of the samples that were evaluated")


def as_pictures(images: Tensor) -> list[NDArray[np.uint8]]:
    """Turn uint8 images `(image, channel, height, width)` into arrays `(height, width, channel)`."""
    return list(images.cpu().permute(0, 2, 3, 1).numpy())


class Drawing(Callback):
    """Draw on the first process alone; what cannot be drawn is reported, and the run continues.

    Results are written before: the recorder comes first among the callbacks.
    """

    # what the warning calls it
    subject: ClassVar[str]
    # replaced by the command line's, which knows the run's folder
    files = FigureFolder()

    def _save(self, trainer: pl.Trainer, drawn: Drawn) -> None:
        try:
            for name, figure in drawn:
                self.files.save(trainer, name, figure)
        except Exception as error:
            reason = in_words(error)
            warn(f"figure not drawn: {self.subject}: {reason}")


class EvaluationDrawing(Drawing):
    """Draw what was predicted on a split, at the end of `test` and `validate`.

    A subclass overrides `draw`.

    Args:
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    # the models that it draws
    of_models: ClassVar[type[Model]] = Classifier
    # whether it shows the images themselves, which a table lacks
    needs_images: ClassVar[bool] = False
    # whether it needs the weights that made the predictions, which at the end of a fit are those of another epoch
    needs_weights: ClassVar[bool] = False

    def __init__(self, fit: bool = False) -> None:
        self.fit = fit

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield figures with their names, without that of the split."""
        raise NotImplementedError(f"{type(self).__name__} must override draw()")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the test split's."""
        self._draw(trainer, pl_module, "test")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the validation split's, but not within a fit."""
        if trainer.state.fn == "validate":
            self._draw(trainer, pl_module, "val")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the best epoch's, if asked to."""
        if self.fit and not self.needs_weights:
            self._draw(trainer, pl_module, "val")

    def _draw(self, trainer: pl.Trainer, model: Any, split: str) -> None:
        if not trainer.is_global_zero or not isinstance(model, self.of_models) or is_rehearsal(trainer):
            return
        self._save(trainer, self._drawn(trainer, model, split))

    def _drawn(self, trainer: pl.Trainer, model: Any, split: str) -> Drawn:
        predictions = best_predictions(trainer) or model.predictions
        if not predictions or (self.needs_images and trainer.datamodule.samples(split).source.name != "image"):  # type: ignore[attr-defined]
            return
        labels, logits = (predictions[name].cpu().numpy() for name in ("label", "logits"))
        evaluated = Evaluated(split, predictions["id"].cpu(), labels, logits, model, trainer, self.files)
        yield from ((f"{split}_{name}", figure) for name, figure in self.draw(evaluated))


def best_predictions(trainer: pl.Trainer) -> dict[str, Tensor]:
    """Return what the recorder keeps of a fit's best epoch; nothing outside of a fit, or without a recorder."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    recorder = next((c for c in callbacks if isinstance(c, RunRecorder)), None)
    if trainer.state.fn != "fit" or recorder is None or not recorder.predictions.is_file():
        return {}
    tensors = read_predictions(recorder.predictions)
    return {name.removeprefix("val/"): column for name, column in tensors.items() if name.startswith("val/")}
