"""What is exported: images in, probabilities out."""

import torch
from torch import Tensor, nn

from lightning_modules.classifier import Classifier


class Probabilities(nn.Module):
    """A classifier or a whole stack from images to probabilities.

    Resizing to each network's size, normalisation, temperature and, for a stack, its head are inside.

    Args:
        model: in evaluation mode
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Compute probabilities `(batch, class)` of uint8 images `(batch, channel, height, width)`."""
        probabilities: Tensor = self.model(image).float().softmax(1)
        return probabilities


def frozen(model: Classifier) -> Probabilities:
    """Return the module to export, on the CPU, in single precision, with nothing to train.

    Args:
        model: as `load_classifier` returns it
    """
    return Probabilities(model.cpu().float()).eval().requires_grad_(False)


def random_images(model: Classifier, count: int) -> Tensor:
    """Return noise of the form of the model's images, uint8, shape `(count, channel, height, width)`."""
    shape = (count, model.info.in_channels, *model.info.image_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
