"""Predictor: a trained model that predicts from Python, as an estimator of scikit-learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor

from common.ranges import check_range
from datamodules.files.decoding import decode
from lightning_modules.checkpoints import find_model, load_model
from lightning_modules.classifier import Classifier
from lightning_modules.model import Model
from lightning_modules.stacked_classifier import StackedClassifier
from pipelines.predict.images import ImageBatches, Pictures, served_range
from records import result_files, run_dir


class Predictor(ClassifierMixin, BaseEstimator):
    """A trained classifier or stack, which predicts as `python train.py predict` does.

    It follows scikit-learn's conventions for classifiers that are fitted: `classes_`, `predict`, `predict_proba` and
    `score`. Methods take images as paths, Pillow images, numpy arrays `(image, height, width, channel)` or tensors
    `(image, channel, height, width)`; those of another size are scaled and cropped as files are.

    Args:
        path: a run's folder, a checkpoint, or a stack's folder
        device: such as cpu, cuda or cuda:1; auto takes a GPU where there is one
        batch_size: images computed at once

    Raises:
        FileNotFoundError: there is no checkpoint
        ValueError: it is damaged, or no classifier; or an argument is wrong
    """

    def __init__(self, path: str | Path, device: str = "auto", batch_size: int = 64) -> None:
        check_range("batch_size", batch_size, "[1, inf)")
        self.path, self.device, self.batch_size = path, device, batch_size
        self.checkpoint = find_model(Path(path))
        model = load_model(self.checkpoint)
        if "image" not in model.read or not isinstance(model, Classifier):
            raise ValueError(
                f"{path} holds a model of tables: predict with --data.predict_path FILE, or francesinha.load"
            )
        if model.read != ["image"]:
            raise ValueError(
                f"{path} holds a stack of models on images and on tables: predict with --data Manifest, which has both"
            )
        self.model: Classifier = model.to(device_of(device))
        self.value_range = served_range(self.model.info)
        self.classes_ = np.array(self.model.info.class_names)

    def predict(self, images: Pictures) -> NDArray[np.str_]:
        """Name the most probable class of each image.

        Args:
            images: see the class

        Returns:
            shape `(image,)`
        """
        named: NDArray[np.str_] = self.classes_[self.logits(images).argmax(1)]
        return named

    def predict_proba(self, images: Pictures) -> NDArray[np.float64]:
        """Compute the probability of each class, in the order of `classes_`.

        Args:
            images: see the class

        Returns:
            shape `(image, class)`
        """
        probabilities: NDArray[np.float64] = torch.from_numpy(self.logits(images)).double().softmax(1).numpy()
        return probabilities

    def logits(self, images: Pictures) -> NDArray[np.float32]:
        """Compute what the model gives before the softmax; those of a stack are calibrated.

        Args:
            images: see the class

        Returns:
            shape `(image, class)`
        """
        return self._compute(self.model, images)

    def decode(self, path: str | Path) -> NDArray[np.uint8]:
        """Read an image file as the model's data serves it, uint8, shape `(height, width, channel)`.

        Args:
            path: of the file

        Raises:
            ValueError: it is no whole image
        """
        info = self.model.info
        return decode(Path(path), info.image_size, info.in_channels, value_range=self.value_range)

    def logits_of(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Compute the logits `(image, class)` of what `decode` returned.

        Args:
            pictures: a batch of them
        """
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            logits: Tensor = self.model(batch.to(next(self.model.parameters()).device)).float().cpu()
        return logits

    def embed(self, images: Pictures) -> NDArray[np.float32]:
        """Compute what the head sees: the backbone's features, or the members' logits side by side.

        Args:
            images: see the class

        Returns:
            shape `(image, dim)`
        """
        return self._compute(self.model.features, images)

    def accepted(self, images: Pictures) -> NDArray[np.bool_]:
        """Tell which predictions are accepted by the stack's `reject` option; all, where nothing is rejected.

        Args:
            images: see the class

        Returns:
            shape `(image,)`
        """
        logits = torch.from_numpy(self.logits(images))
        accepted = self.model.accepted(logits)
        taken: NDArray[np.bool_] = (torch.ones(len(logits), dtype=torch.bool) if accepted is None else accepted).numpy()
        return taken

    def explain(self, images: Pictures, classes: list[str] | None = None) -> NDArray[np.float32]:
        """Compute by Grad-CAM where the network looks (Selvaraju et al. 2017); needs the extra gradcam.

        Args:
            images: see the class
            classes: the class to explain of each image, by name; None explains the predicted one

        Returns:
            in [0, 1], at the size that the network takes, shape `(image, height, width)`

        Raises:
            ValueError: the model is a stack, or has no feature maps; or a class is unknown
        """
        # slow to import, and an extra
        from callbacks.drawing.grad_cam import GradCam, grad_cam

        GradCam()
        batches = ImageBatches(images, self.model.info, self.batch_size)
        names = list(self.predict(images)) if classes is None else list(classes)
        if len(names) != len(batches):
            raise ValueError(f"classes must name one class an image: {len(names)} classes, {len(batches)} images")
        numbers = [self._number(name) for name in names]
        maps, done = [], 0
        for batch in batches:
            maps.append(grad_cam(self.model, batch.clone(), np.array(numbers[done : done + len(batch)])))
            done += len(batch)
        return np.concatenate(maps)

    @property
    def card(self) -> dict[str, Any]:
        """What the model is, what it was trained on, and what it reached, as plain Python types."""
        info = self.model.info
        return {
            **card_of(self.model, self.checkpoint),
            "image_size": list(info.image_size),
            "channels": info.in_channels,
            "value_range": info.value_range or "full",
        }

    def fit(self, images: Pictures, labels: Any) -> Self:
        """Refuse to be trained: scikit-learn expects the method.

        Raises:
            ValueError: always
        """
        raise ValueError("a Predictor is trained already: train another model by francesinha.fit")

    def _compute(self, function: Any, images: Pictures) -> NDArray[np.float32]:
        device, found = next(self.model.parameters()).device, []
        with torch.inference_mode():
            for batch in ImageBatches(images, self.model.info, self.batch_size):
                values: Tensor = function(batch.to(device))
                found.append(values.float().cpu())
        computed: NDArray[np.float32] = torch.cat(found).numpy()
        return computed

    def _number(self, name: str) -> int:
        names = self.model.info.class_names
        if name not in names:
            raise ValueError(f"the model knows no class {name!r}, but {', '.join(names)}")
        return names.index(name)

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn that it need not be trained."""
        return True

    def __sklearn_clone__(self) -> Self:
        """Return itself to scikit-learn, which copies estimators to train them."""
        return self


def card_of(model: Model, checkpoint: Path) -> dict[str, Any]:
    """Say what a model is, what it was trained on, and what it reached, as plain Python types.

    Args:
        model: from a checkpoint
        checkpoint: that it is from
    """
    run = run_dir.of_checkpoint(checkpoint)
    recorded = result_files.read_result(run.result) if run is not None and run.result.is_file() else {}
    said = ("data", "samples", "val", "test", "coefficients", "versions")
    return {
        "model": type(model).__name__,
        "checkpoint": str(checkpoint),
        "members": _member_names(model),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "classes": list(model.info.class_names) if isinstance(model, Classifier) else [],
        **{name: recorded[name] for name in said if name in recorded},
        **(model.provenance.origins() if model.provenance is not None else {}),
    }


def _member_names(model: Model) -> list[str]:
    if isinstance(model, StackedClassifier):
        return [str(member["name"]) for member in model.members]
    return []


def device_of(name: str) -> torch.device:
    """Return a device by its name; auto takes a GPU where there is one.

    Raises:
        ValueError: it cannot be used here
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used here: use auto, cpu or cuda") from error
    return device
