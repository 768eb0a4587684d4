"""From uint8 images to what a network takes, on the device, saved with the weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Preprocessing(nn.Module):
    """Resize to the network's input size, scale to [0, 1] and normalise.

    It belongs to the model, so that members of different sizes can be in one stack and a prediction on any
    photo gets the same as training did.

    Args:
        input_size: height and width the network takes, in pixels
        mean: of each channel, on the scale [0, 1]
        std: of each channel, on the scale [0, 1]
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input_size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.input_size = input_size
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Prepare a batch.

        Args:
            images: uint8, shape `(batch, channel, height, width)`, of any size

        Returns:
            float, shape `(batch, channel, input height, input width)`
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be uint8 in [0, 255], not {images.dtype}")
        if images.shape[-2:] != self.input_size:
            # a CPU cannot resize in 16 bits, which would round at each weight of the mean too
            images = images.to(torch.promote_types(self.mean.dtype, torch.float32))
            images = nn.functional.interpolate(images, self.input_size, mode="bilinear", antialias=True)
        # decoded files come with the channels last, which is slow to normalise; and on a CPU, converting first is twice
        # as fast as arithmetic on integers
        return images.contiguous().to(self.mean.dtype).sub_(255 * self.mean).mul_(1 / (255 * self.std))
