"""Where a network looks: Grad-CAM."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from callbacks.drawing.base import Drawn, Evaluated, EvaluationDrawing, as_pictures
from callbacks.drawing.gallery import telling
from callbacks.drawing.given_images import GivenImages, GradCamOptions, find_images
from datamodules.image_data import ImageDataModule
from lightning_modules.classifier import Classifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GradCam(EvaluationDrawing):
    """Draw what the network looked at, by Grad-CAM; needs the extra gradcam.

    The maps (Selvaraju et al. 2017) are laid over the most confident mistakes and the least confident hits. They are
    those of the last feature map of more than one pixel, whatever the family; a model without feature maps has none.

    The originals stand above the maps.

    Args:
        images: how many images of each kind at most
    """

    # replaced by the command line's
    given = GradCamOptions()
    subject: ClassVar[str] = "Grad-CAM"
    needs_weights: ClassVar[bool] = True

    def __init__(self, images: int = 16) -> None:
        if images < 1:
            raise ValueError(f"Grad-CAM's images must be at least 1, not {images}")
        if find_spec("pytorch_grad_cam") is None:
            raise ValueError("Grad-CAM needs the extra gradcam: pip install 'francesinha[gradcam]', or leave it out")
        super().__init__()
        self.count = images

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        number = self.given.class_number(evaluated.model.info.class_names)
        if self.given.images:
            data: ImageDataModule = evaluated.trainer.datamodule  # type: ignore[attr-defined]
            found = find_images(self.given.images, data, evaluated.split, evaluated.model.info)
            with torch.no_grad(), evaluated.trainer.precision_plugin.forward_context():
                logits = evaluated.model(found.pixels.to(evaluated.model.device)).float().cpu().numpy()
            yield "grad_cam_given", picture(evaluated, found, logits, number, "given images")
            return
        for name, kind, rows in zip(
            ("grad_cam_mistakes", "grad_cam_hits"),
            ("most confident mistakes", "least confident hits"),
            telling(evaluated, self.count),
            strict=True,
        ):
            if len(rows):
                samples, labels = evaluated.samples(rows), torch.from_numpy(evaluated.labels[rows])
                found = GivenImages(samples.sample_names(), samples.source.gather(samples.rows), labels)
                yield name, picture(evaluated, found, evaluated.logits[rows], number, kind)


def picture(
    evaluated: Evaluated, found: GivenImages, logits: NDArray[np.float32], number: int | None, kind: str
) -> "Figure":
    """Draw images above what was read from them.

    Args:
        evaluated: brings the model and the names of the classes
        found: the images
        logits: of each image, shape `(image, class)`
        number: the class whose evidence is drawn; None takes the one that is predicted for each
        kind: of the images, for the title
    """
    from figures.gallery import captions, gallery
    from measures.reliability import softmax

    predicted, names = logits.argmax(1), evaluated.class_names
    classes = predicted if number is None else np.full(len(logits), number)
    # a test runs without gradients, and tensors made in it can have none
    with torch.inference_mode(False), torch.enable_grad():
        maps = grad_cam(evaluated.model, found.pixels.clone(), classes)
    of = "the predicted class" if number is None else names[number]
    # an image without a label has no true class to differ from
    labels = np.where(found.labels.numpy() < 0, predicted, found.labels.numpy())
    texts = captions(labels, softmax(logits), names)
    title = f"{evaluated.title}, {kind}: what {of} was read from"
    return gallery(as_pictures(found.pixels), texts, title, overlays=list(maps), names=found.names)


class _FromPrepared(nn.Module):
    """A classifier from prepared images to logits."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, prepared: Tensor) -> Tensor:
        # past a compiled call, which would not run the hooks within
        return self.head(self.backbone.forward(prepared))


def grad_cam(model: Classifier, images: Tensor, classes: NDArray[np.integer]) -> NDArray[np.float32]:
    """Compute the Grad-CAM maps of some images.

    Args:
        model: in evaluation mode
        images: uint8, shape `(image, channel, height, width)`
        classes: whose map to compute, shape `(image,)`

    Returns:
        in [0, 1], at the size that the network takes, shape `(image, height, width)`

    Raises:
        ValueError: the model has no feature maps
    """
    # slow to import, and an extra
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    if model.is_stack:
        raise ValueError("Grad-CAM needs one network, and a stack has several: draw the maps of its members")
    modules = dict(model.named_children())
    for part in ("preprocessing", "backbone", "head"):
        if part not in modules:
            raise ValueError(f"{type(model).__name__} has no {part}, which Grad-CAM needs")
    with _without_gradients(model):
        prepared = modules["preprocessing"](images.to(model.device))
        layer = last_feature_map(modules["backbone"], prepared[:1])
        if layer is None:
            raise ValueError(f"{type(model).__name__} has no feature maps: it has no convolutions, or its last are 1x1")
        network = _FromPrepared(modules["backbone"], modules["head"])
        network.train(model.training)
        # the gradient starts at the images, because the weights' may be frozen
        with GradCAM(network, [layer]) as cam:
            cam.compute_input_gradient = True
            targets = [ClassifierOutputTarget(int(number)) for number in classes]
            return cam(prepared, targets=targets)


def last_feature_map(network: nn.Module, prepared: Tensor) -> nn.Module | None:
    """Return the module that computes the last feature map of more than one pixel.

    Pooling, flattening and dense layers come after it in every family: it is a stage of a ResNet or ConvNeXt, the last
    normalisation of an EfficientNet, the last pooling or activation of the others.

    Args:
        network: from images to embeddings
        prepared: an image as the network takes it, shape `(1, channel, height, width)`

    Returns:
        the module; None for a network without one
    """
    found: list[nn.Module] = []

    def look(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            found.append(module)

    handles = [module.register_forward_hook(look) for module in network.modules() if module is not network]
    try:
        with torch.no_grad():
            network.forward(prepared)
    finally:
        for handle in handles:
            handle.remove()
    return found[-1] if found else None


@contextmanager
def _without_gradients(model: nn.Module) -> Iterator[None]:
    # gradients of the weights are not needed, and take as much memory as the weights
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
